//! The toolstack: what the store gets for the domains there are, and what happens if it refuses.

use crate::fake::{Bench, Message};
use ioctlab_abi::xenbus::{kind, kind_name};
use ioctlab_xenbus::{Guest, Toolstack};

fn guests() -> [Guest; 2] {
    let guest = |domain, name: &str, store_frame, store_port| Guest {
        domain,
        name: name.to_owned(),
        store_frame,
        store_port,
    };
    [guest(1, "one", 0xfeffc, 4), guest(20, "twenty", 7, 1)]
}

/// Lets the toolstack run against a store that answers as `answer` says; what the store was asked, as text.
fn run(
    toolstack: &mut Toolstack,
    mut answer: impl FnMut(&Message) -> Result<Vec<u8>, Vec<u8>>,
) -> Vec<String> {
    let mut bench = Bench::new();
    let mut asked = Vec::new();
    toolstack.advance(&mut bench.bus);
    loop {
        let requests = bench.pump();
        if requests.is_empty() {
            return asked;
        }
        for request in requests {
            let text = String::from_utf8(request.1.clone()).unwrap().replace('\0', "|");
            let kind = kind_name(request.0.kind).unwrap().strip_prefix("XS_").unwrap();
            asked.push(format!("{} {kind} {text}", request.0.transaction));
            match answer(&request) {
                Ok(body) => bench.store.answer(&request, &body),
                Err(error) => bench.store.refuse(&request, &error),
            }
        }
        bench.pump();
        toolstack.advance(&mut bench.bus);
    }
}

fn messages(toolstack: &mut Toolstack) -> Vec<String> {
    std::iter::from_fn(|| toolstack.next_message()).collect()
}

fn agree(request: &Message) -> Result<Vec<u8>, Vec<u8>> {
    Ok(if request.0.kind == kind::TRANSACTION_START { b"8\0".to_vec() } else { b"OK\0".to_vec() })
}

const GUEST_ONE: [&str; 14] = [
    "0 TRANSACTION_START |",
    "8 MKDIR /local/domain/1|",
    "8 SET_PERMS /local/domain/1|n0|r1|",
    "8 MKDIR /vm/00000000-0000-0000-0000-000000000001|",
    "8 SET_PERMS /vm/00000000-0000-0000-0000-000000000001|n0|r1|",
    "8 WRITE /local/domain/1/vm|/vm/00000000-0000-0000-0000-000000000001",
    "8 WRITE /local/domain/1/name|one",
    "8 WRITE /local/domain/1/domid|1",
    "8 WRITE /vm/00000000-0000-0000-0000-000000000001/uuid|00000000-0000-0000-0000-000000000001",
    "8 WRITE /vm/00000000-0000-0000-0000-000000000001/name|one",
    "8 MKDIR /local/domain/1/data|",
    "8 SET_PERMS /local/domain/1/data|n1|",
    "8 TRANSACTION_END T|",
    "0 INTRODUCE 1|1044476|4|",
];

#[test]
fn each_guest_is_written_in_a_transaction_then_introduced() {
    let mut toolstack = Toolstack::new(&guests());
    assert!(!toolstack.is_done());
    let asked = run(&mut toolstack, agree);
    let domain_zero = [
        "0 TRANSACTION_START |",
        "8 WRITE /local/domain/0/domid|0",
        "8 WRITE /local/domain/0/name|Domain-0",
        "8 TRANSACTION_END T|",
    ];
    assert_eq!(asked[..4], domain_zero);
    assert_eq!(asked[4..18], GUEST_ONE);
    assert_eq!(asked.len(), 4 + 2 * GUEST_ONE.len());
    assert_eq!(asked.last().unwrap(), "0 INTRODUCE 20|7|1|");
    assert!(toolstack.is_done());
    let introduced = ["domain 1 is introduced to the store", "domain 20 is introduced to the store"];
    assert_eq!(messages(&mut toolstack), introduced);
}

#[test]
fn a_step_that_is_refused_is_said_and_the_next_follows() {
    for refused in 0..4 + 2 * GUEST_ONE.len() {
        let mut toolstack = Toolstack::new(&guests());
        let mut count = 0;
        let asked = run(&mut toolstack, |request| {
            count += 1;
            if count == refused + 1 { Err(b"EACCES\0".to_vec()) } else { agree(request) }
        });
        assert!(toolstack.is_done());
        let messages = messages(&mut toolstack);
        assert!(messages.iter().any(|message| message.ends_with(": EACCES")), "{messages:?}");
        // Without a transaction there is none to end.
        let starts = [0, 4, 18].contains(&refused);
        assert_eq!(asked.len(), 4 + 2 * GUEST_ONE.len() - usize::from(starts));
    }
    let mut toolstack = Toolstack::new(&guests());
    run(&mut toolstack, |request| {
        if request.0.kind == kind::INTRODUCE { Err(b"EINVAL\0".to_vec()) } else { agree(request) }
    });
    assert_eq!(messages(&mut toolstack)[0], "domain 1: the store refuses XS_INTRODUCE of 1: EINVAL");
}

#[test]
fn a_transaction_that_collides_is_tried_again_but_not_for_ever() {
    for (collisions, fails) in [(1, false), (10, false), (11, true)] {
        let mut toolstack = Toolstack::new(&guests()[..1]);
        let mut ends = 0;
        let asked = run(&mut toolstack, |request| {
            ends += usize::from(request.0.kind == kind::TRANSACTION_END);
            let collides = request.0.kind == kind::TRANSACTION_END && ends > 1 && ends <= 1 + collisions;
            if collides { Err(b"EAGAIN\0".to_vec()) } else { agree(request) }
        });
        let tries = (collisions + 1).min(11);
        assert_eq!(asked.len(), 4 + 13 * tries + 1);
        let messages = messages(&mut toolstack);
        assert_eq!(messages.len(), 1 + usize::from(fails), "{messages:?}");
    }
}

#[test]
fn each_guest_has_its_own_retries() {
    let mut toolstack = Toolstack::new(&guests());
    let mut ends = 0;
    run(&mut toolstack, |request| {
        let ending = request.0.kind == kind::TRANSACTION_END;
        ends += usize::from(ending);
        // Each domain's eleventh try is its last, and succeeds.
        if ending && ends % 11 != 0 { Err(b"EAGAIN\0".to_vec()) } else { agree(request) }
    });
    assert_eq!(ends, 33);
    assert_eq!(messages(&mut toolstack).len(), 2, "nothing failed");
}

#[test]
fn without_a_store_the_first_request_waits() {
    let mut bench = Bench::new();
    let mut toolstack = Toolstack::new(&guests());
    for _ in 0..10 {
        toolstack.advance(&mut bench.bus);
        bench.bus.interrupt(&mut bench.page);
    }
    assert!(!bench.bus.has_unsent());
    assert_eq!(bench.request(), Message::new(kind::TRANSACTION_START, 0, 0, b"\0"));
}
