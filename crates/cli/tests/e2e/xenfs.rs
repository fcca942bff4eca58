//! The files of `/proc/xen`, as shells and Python see them.

use crate::shared::Lab;
use crate::stage::{Isolation, Stage};

/// What domain 0 has there, and how it can be used.
const CONTROL: &str = r#"
import ctypes, errno, fcntl, mmap, os, signal

def refused(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"

def bytes_of(path):
    with open(path, "rb") as file:
        return file.read()

assert bytes_of("/proc/xen/capabilities") == b"control_d\n"
port = bytes_of("/proc/xen/xsd_port")
assert port.isdigit() and int(port) > 0, port
assert refused(open, "/proc/xen/balloon") == "ENOENT"

# The ring's page: exactly one, shared or for reading. Python's own mmap believes the size, which is 0 on Linux, too.
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
READ, BOTH = mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_WRITE
page = os.open("/proc/xen/xsd_kva", os.O_RDWR)

def mapped(length, protection, flags, offset=0, file=page):
    address = libc.mmap(None, length, protection, flags, file, offset)
    if address == 2**64 - 1:
        return errno.errorcode[ctypes.get_errno()]
    return ctypes.string_at(address, 1)

assert mapped(4096, BOTH, mmap.MAP_SHARED) == b"\0"
assert mapped(4096, READ, mmap.MAP_PRIVATE) == b"\0"
for bad in [(8192, BOTH, mmap.MAP_SHARED), (4096, BOTH, mmap.MAP_SHARED, 4096), (4096, BOTH, mmap.MAP_PRIVATE)]:
    assert mapped(*bad) == "EINVAL", (bad, mapped(*bad))

# The devices of /dev/xen by their old names.
for path in ["/proc/xen/privcmd", "/dev/xen/privcmd"]:
    file = os.open(path, os.O_RDWR)
    assert refused(fcntl.ioctl, file, 0x5000, 0) == "ENOTTY"
    assert refused(os.read, file, 1) == "EINVAL", refused(os.read, file, 1)
    child = os.fork()
    if child == 0:
        mapped(4096, BOTH, mmap.MAP_SHARED, 0, file)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == -signal.SIGBUS
    os.close(file)
for path in ["/proc/xen/xenbus", "/dev/xen/xenbus"]:
    file = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    assert refused(os.read, file, 1) == "EAGAIN", refused(os.read, file, 1)
    assert refused(fcntl.ioctl, file, 0x5000, 0) == "ENOTTY"
    os.close(file)
print("ok control")
"#;

/// What a guest hasn't.
const GUEST: &str = r#"
set -e
test -z "$(cat /proc/xen/capabilities)"
: <>/proc/xen/privcmd
for name in xsd_port xsd_kva; do
    if cat /proc/xen/$name; then exit 1; fi
done
echo ok guest
"#;

#[test]
fn of_both_kinds_of_domain() {
    let stage = Stage::new();
    let lab = Lab::up(&stage);
    let control = stage.write("control.py", CONTROL);
    let guest = stage.write("guest.sh", GUEST);
    for isolation in Isolation::BOTH {
        let mut command = lab.run(Some(isolation), Some(0));
        stage.finish(command.arg("python3").arg(&control)).succeeds().prints("ok control");
        let mut command = lab.run(Some(isolation), Some(1));
        stage.finish(command.arg("sh").arg(&guest)).succeeds().prints("ok guest");
    }
    lab.down();
    stage.is_clean();
}
