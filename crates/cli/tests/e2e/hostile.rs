//! Programs that do what no program should: they may hurt themselves, and nobody else.

use std::time::Duration;

use rustix::process::Signal;

use crate::job::SOON;
use crate::shared::Lab;
use crate::stage::{Isolation, Stage};

/// Hands a group a file of the lab's own `/sys` for a container, and then an argument that is in such a file.
const FILES_OF_SYS: &str = r#"
import array, ctypes, fcntl, os
SET_CONTAINER, BADFD, FAULT = 0x3b68, 77, 14
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.ioctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p]
group = os.open("/dev/vfio/5", os.O_RDWR)
file = os.open("/sys/bus/pci/devices/0000:00:05.0/vendor", os.O_RDONLY)
number = array.array("i", [file])
assert libc.ioctl(group, SET_CONTAINER, number.buffer_info()[0]) == -1 and ctypes.get_errno() == BADFD
at = libc.mmap(None, 4096, 3, 2, file, 0)
assert libc.ioctl(group, SET_CONTAINER, at) == -1 and ctypes.get_errno() == FAULT
print("ok")
"#;

/// A lab ends while programs look at its `/sys`. Its server must not wait for itself then: Linux lets nobody who waits for a file
/// system go, once that has been asked, and there is nobody left to answer.
#[test]
fn end_of_a_lab_whose_sys_is_looked_at() {
    let stage = Stage::new();
    let readers = stage.support("sysreaders");
    for round in 0..40 {
        let mut run = stage.run(Isolation::Namespace, [readers.as_os_str(), "8".as_ref()]);
        let mut job =
            stage.start(run.arg("/sys/bus/pci/devices/0000:00:05.0/vendor").current_dir("/sys/bus/pci"));
        if round % 2 == 0 {
            job.expect("reading\n");
            job.signal(Signal::KILL);
        }
        job.wait(SOON);
        stage.has_no_processes();
    }
    stage.is_clean();
}

/// The server has locked the lab when it looks at these, and the lab's `/sys` is the server's own.
#[test]
fn files_of_sys_as_arguments() {
    let stage = Stage::new();
    let program = stage.write("files.py", FILES_OF_SYS);
    let lab = Lab::up(&stage);
    let mut run = lab.run(Some(Isolation::Namespace), None);
    stage.finish_within(Duration::from_secs(20), run.arg("python3").arg(program)).succeeds().prints("ok\n");
    lab.is_unused();
    lab.down();
    stage.is_clean();
}
