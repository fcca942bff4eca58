//! What a control domain's tools do for the domains there are: tell the store of each, and write what libxl writes of it, as
//! far as programs look for it.

use crate::{Bus, Refusal, Ticket, reply::number};
use alloc::{
    collections::VecDeque,
    format,
    string::{String, ToString},
    vec::Vec,
};
use ioctlab_abi::xenbus::{kind, kind_name};

/// How often a domain's transaction is tried again that others have come in the way of.
const MAX_RETRIES: u32 = 10;

/// A domain to be introduced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// Its number; not 0.
    pub domain: u16,
    /// Its name.
    pub name: String,
    /// The frame of the page that it shares with the store.
    pub store_frame: u64,
    /// Its port for the store.
    pub store_port: u32,
}

/// A state machine over the kernel's own requests, one at a time, which begins with domain 0 itself: what `xen-init-dom0`
/// writes. Then, for each guest, it writes the guest's nodes in a transaction, and introduces it. The first request waits
/// in the ring until there is a store.
///
/// A step that fails is a message, and the next follows.
#[derive(Debug)]
pub struct Toolstack {
    /// What is to be done yet, the domain under way first.
    plans: VecDeque<Plan>,
    phase: Phase,
    transaction: u32,
    retries: u32,
    waiting: Option<Ticket>,
    messages: VecDeque<String>,
}

/// What there is to do for a domain.
#[derive(Debug)]
struct Plan {
    domain: u16,
    steps: Vec<Step>,
    introduction: Option<Step>,
}

/// A request.
#[derive(Clone, Debug)]
struct Step {
    kind: u32,
    payload: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Start,
    Step(usize),
    End,
    Introduce,
}

impl Toolstack {
    /// A toolstack that has all guests before it, in this order.
    pub fn new(guests: &[Guest]) -> Self {
        Self {
            plans: core::iter::once(domain_zero()).chain(guests.iter().map(plan)).collect(),
            phase: Phase::Start,
            transaction: 0,
            retries: 0,
            waiting: None,
            messages: VecDeque::new(),
        }
    }

    /// Goes as far as the store has answered. To be called at first, and after each [`Bus::interrupt`]; it queues requests,
    /// so [`Bus::has_unsent`] is to be asked after it. All of the kernel's replies are taken; others than its own are
    /// dropped.
    pub fn advance(&mut self, bus: &mut Bus) {
        loop {
            if let Some(ticket) = self.waiting {
                let Some((answered, reply)) = bus.next_reply() else { return };
                if answered != ticket {
                    continue;
                }
                self.waiting = None;
                self.finish(reply);
            }
            let Some((step, transaction)) = self.current() else { return };
            match bus.request_in(transaction, step.kind, &step.payload) {
                Ok(ticket) => self.waiting = Some(ticket),
                Err(errno) => self.finish(Err(Refusal::new(errno.to_string().as_bytes()))),
            }
        }
    }

    /// Whether there is nothing left to do.
    pub fn is_done(&self) -> bool {
        self.plans.is_empty()
    }

    /// What is to be said: of a step that failed, or of a guest that the store knows now.
    pub fn next_message(&mut self) -> Option<String> {
        self.messages.pop_front()
    }

    /// The request to be made now, and in which transaction.
    fn current(&self) -> Option<(Step, u32)> {
        let plan = self.plans.front()?;
        Some(match self.phase {
            Phase::Start => (Step::new(kind::TRANSACTION_START, &["\0"]), 0),
            Phase::Step(index) => (plan.steps.get(index)?.clone(), self.transaction),
            Phase::End => (Step::new(kind::TRANSACTION_END, &["T\0"]), self.transaction),
            Phase::Introduce => (plan.introduction.clone()?, 0),
        })
    }

    /// The request that was made is answered, or could not be made: says so if it failed, and goes on to the next.
    fn finish(&mut self, reply: Result<Vec<u8>, Refusal>) {
        let Some(plan) = self.plans.front() else { return };
        let (domain, steps) = (plan.domain, plan.steps.len());
        let conflict = matches!(&reply, Err(refusal) if refusal.as_bytes() == b"EAGAIN");
        if self.phase == Phase::End && conflict && self.retries < MAX_RETRIES {
            self.retries = self.retries.saturating_add(1);
            self.phase = Phase::Start;
            return;
        }
        if let Err(refusal) = &reply
            && let Some((step, _)) = self.current()
        {
            self.messages.push_back(format!("domain {domain}: the store refuses {step}: {refusal}"));
        }
        let next = match self.phase {
            Phase::Start => {
                // Without a transaction the steps are done all the same.
                self.transaction = reply.ok().and_then(|body| number(&body)).unwrap_or(0);
                Phase::Step(0)
            }
            Phase::Step(index) => Phase::Step(index.saturating_add(1)),
            Phase::End => Phase::Introduce,
            Phase::Introduce => {
                if reply.is_ok() {
                    self.messages.push_back(format!("domain {domain} is introduced to the store"));
                }
                return self.next_plan();
            }
        };
        self.phase = match next {
            Phase::Step(index) if index < steps => next,
            Phase::Step(_) if self.transaction != 0 => Phase::End,
            _ => Phase::Introduce,
        };
        if self.phase == Phase::Introduce && self.current().is_none() {
            self.next_plan();
        }
    }

    fn next_plan(&mut self) {
        self.plans.pop_front();
        self.phase = Phase::Start;
        self.transaction = 0;
        self.retries = 0;
    }
}

impl Step {
    /// A request whose payload is the parts in a row; each brings its NUL.
    fn new(kind: u32, parts: &[&str]) -> Self {
        Self { kind, payload: parts.concat().into_bytes() }
    }

    fn write(path: &str, value: &str) -> Self {
        Self::new(kind::WRITE, &[path, "\0", value])
    }
}

impl core::fmt::Display for Step {
    /// Its kind and its first string.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let subject = self.payload.split(|byte| *byte == 0).next().unwrap_or_default();
        write!(f, "{}", kind_name(self.kind).unwrap_or("a request"))?;
        if subject.is_empty() { Ok(()) } else { write!(f, " of {}", subject.escape_ascii()) }
    }
}

fn domain_zero() -> Plan {
    let steps = Vec::from([
        Step::write("/local/domain/0/domid", "0"),
        Step::write("/local/domain/0/name", "Domain-0"),
    ]);
    Plan { domain: 0, steps, introduction: None }
}

/// The nodes of a guest: its own to read, and one to write in. What is made in a directory has the directory's permissions.
fn plan(guest: &Guest) -> Plan {
    let Guest { domain, name, store_frame, store_port } = guest;
    let home = format!("/local/domain/{domain}");
    let uuid = format!("00000000-0000-0000-0000-{domain:012x}");
    let vm = format!("/vm/{uuid}");
    let data = format!("{home}/data");
    let readable = format!("n0\0r{domain}\0");
    let own = format!("n{domain}\0");
    let directory = |path: &str, permissions: &str| {
        [Step::new(kind::MKDIR, &[path, "\0"]), Step::new(kind::SET_PERMS, &[path, "\0", permissions])]
    };
    let mut steps = Vec::new();
    steps.extend(directory(&home, &readable));
    steps.extend(directory(&vm, &readable));
    steps.extend([
        Step::write(&format!("{home}/vm"), &vm),
        Step::write(&format!("{home}/name"), name),
        Step::write(&format!("{home}/domid"), &domain.to_string()),
        Step::write(&format!("{vm}/uuid"), &uuid),
        Step::write(&format!("{vm}/name"), name),
    ]);
    steps.extend(directory(&data, &own));
    let introduction = format!("{domain}\0{store_frame}\0{store_port}\0");
    Plan { domain: *domain, steps, introduction: Some(Step::new(kind::INTRODUCE, &[&introduction])) }
}
