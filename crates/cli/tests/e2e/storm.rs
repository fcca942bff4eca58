//! A program that maps and unmaps pages while it gets signals all the time, and is stopped and continued.

use crate::stage::{Isolation, Stage};

const STORM: &str = r#"
import fcntl, mmap, os, random, signal, struct, time

MAPS = 2000

def map_pages():
    caught = 0
    def count(*_):
        nonlocal caught
        caught += 1
    signal.signal(signal.SIGALRM, count)
    # What is interrupted before anybody has heard of it is to start anew.
    signal.siginterrupt(signal.SIGALRM, False)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    file = os.open("/dev/xen/gntalloc", os.O_RDWR)
    for number in range(MAPS):
        request = bytearray(struct.pack("HHIQII", 0, 1, 1, 0, 0, 0))
        fcntl.ioctl(file, 0x184705, request)
        index = struct.unpack_from("Q", request, 8)[0]
        assert index == number * 4096, index
        page = mmap.mmap(file, 4096, offset=index)
        page[5] = 7
        assert page[:7] == bytes(5) + b"\7\0"
        fcntl.ioctl(file, 0x104706, struct.pack("QI4x", index, 1))
        page.close()
    assert caught > 100, caught
    os._exit(0)

child = os.fork()
if child == 0:
    try:
        map_pages()
    finally:
        os._exit(1)
stops = 0
while True:
    process, status = os.waitpid(child, os.WNOHANG)
    if process:
        break
    os.kill(child, signal.SIGSTOP)
    time.sleep(random.random() * 0.0005)
    os.kill(child, signal.SIGCONT)
    time.sleep(random.random() * 0.003)
    stops += 1
assert status == 0 and stops > 100, (status, stops)
print("ok storm")
"#;

#[test]
fn of_signals_and_stops() {
    let stage = Stage::new();
    let program = stage.write("storm.py", STORM);
    for isolation in Isolation::BOTH {
        stage.finish(stage.run(isolation, ["python3"]).arg(&program)).succeeds().prints("ok storm");
    }
    stage.is_clean();
}
