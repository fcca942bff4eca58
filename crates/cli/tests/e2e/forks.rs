//! Programs that fork all the time while signals arrive: a fork is no call that a signal interrupts, and no program expects it.

use std::time::Duration;

use crate::stage::{Isolation, Stage};

/// Children end at any time, and each of them is a signal, which this shell handles; besides, somebody else sends some. Nothing is
/// redirected meanwhile: an open can be interrupted (`docs/differences.md`, "Interrupted calls").
const SHELL: &str = r#"
count=0
trap 'count=$((count + 1))' USR1
trap : CHLD
(while kill -USR1 $$; do :; done) &
sender=$!
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
    for j in 1 2 3 4 5; do
        (exit 0) &
        (exit 0) &
        test "$(echo text)" = text || exit 1
    done
done
trap '' USR1
trap - CHLD
kill $sender
wait
test $count -gt 10 && echo ok shell
"#;

/// Forks with pages of gntalloc's and gntdev's mapped, and a timer whose signal restarts nothing. Children see the first, as on
/// Linux, and keep it when their parent has unmapped it.
const MAPPED: &str = r#"
import fcntl, mmap, os, signal, struct

FORKS = 400

caught = 0
def count(*_):
    global caught
    caught += 1
signal.signal(signal.SIGALRM, count)
signal.siginterrupt(signal.SIGALRM, True)
file = os.open("/dev/xen/gntalloc", os.O_RDWR)

def page():
    request = bytearray(struct.pack("HHIQII", 0, 1, 1, 0, 0, 0))
    fcntl.ioctl(file, 0x184705, request)
    index, reference = struct.unpack_from("QI", request, 8)
    fresh = mmap.mmap(file, 4096, offset=index)
    assert fresh[:] == bytes(4096)
    return fresh, index

def free(index):
    fcntl.ioctl(file, 0x104706, struct.pack("QI4x", index, 1))

shared, index = page()
signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
for number in range(FORKS):
    child = os.fork()
    if child == 0:
        shared[number] = 1 + number % 255
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert shared[number] == 1 + number % 255
signal.setitimer(signal.ITIMER_REAL, 0)
assert caught > 20, caught

# The last of several processes to let go of it.
down = os.pipe()
children = []
for number in range(3):
    children.append(os.fork())
    if children[-1] == 0:
        os.close(down[1])
        os.read(down[0], 1)
        assert shared[0] == 1
        os._exit(0)
shared.close()
free(index)
os.write(down[1], b"xxx")
for child in children:
    assert os.waitpid(child, 0)[1] == 0
# Its page comes to nobody with what was in it.
for _ in range(20):
    fresh, index = page()
    fresh.close()
    free(index)
print("ok mapped")
"#;

#[test]
fn of_a_shell() {
    let stage = Stage::new();
    for isolation in Isolation::BOTH {
        // Bash can't parse its script while it handles so many signals, natively either.
        let mut run = stage.run(isolation, ["dash", "-c", SHELL]);
        let outcome = stage.finish_within(Duration::from_secs(60), &mut run).succeeds().prints("ok shell");
        // That is what became of the sender.
        assert_eq!(outcome.stderr.replace("Terminated\n", ""), "");
    }
    stage.is_clean();
}

#[test]
fn of_a_program_with_mappings() {
    let stage = Stage::new();
    let program = stage.write("mapped.py", MAPPED);
    for isolation in Isolation::BOTH {
        stage.finish(stage.run(isolation, ["python3"]).arg(&program)).succeeds().prints("ok mapped");
    }
    stage.is_clean();
}
