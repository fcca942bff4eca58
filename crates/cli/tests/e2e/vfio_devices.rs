//! `ioctlab vfio`: acting on a shared lab's PCI devices from outside, and what a program that has one notices.

use crate::job::{Outcome, SOON, until};
use crate::shared::Lab;
use crate::stage::{Isolation, Stage};

/// Opens edu of the built-in lab and says so; then waits for the eventfd of the interrupt whose index is the first argument,
/// says that it came, and closes the device.
const HOLDER: &str = r#"
import array, fcntl, os, struct, sys
container, group = os.open("/dev/vfio/vfio", os.O_RDWR), os.open("/dev/vfio/5", os.O_RDWR)
fcntl.ioctl(group, 0x3b68, array.array("i", [container]))
fcntl.ioctl(container, 0x3b66, 3)
device = fcntl.ioctl(group, 0x3b6a, bytearray(b"0000:00:05.0\0"))
event = os.eventfd(0)
fcntl.ioctl(device, 0x3b6e, struct.pack("5Ii", 24, 0x24, int(sys.argv[1]), 0, 1, event))
print("open", flush=True)
os.read(event, 8)
print("asked", flush=True)
sys.stdin.readline()
os.close(device)
print("closed", flush=True)
"#;

const REQ: &str = "4";

struct Devices<'a> {
    stage: &'a Stage,
    lab: Lab<'a>,
}

impl<'a> Devices<'a> {
    fn new(stage: &'a Stage) -> Self {
        Self { stage, lab: Lab::up(stage) }
    }

    /// `ioctlab vfio` with these words behind `--in`.
    fn act(&self, command: &str, words: &[&str]) -> Outcome {
        let mut command = self.stage.ioctlab(["vfio", command, "--in", self.lab.name()]);
        self.stage.finish(command.args(words))
    }

    fn succeeds(&self, command: &str, words: &[&str]) -> String {
        self.act(command, words).succeeds().stdout
    }

    fn list(&self) -> String {
        self.succeeds("list", &[])
    }

    #[track_caller]
    fn fails(&self, command: &str, words: &[&str], reason: &str) {
        let outcome = self.act(command, words).gives(125);
        assert_eq!(outcome.stderr, format!("ioctlab: {reason}\n"), "{command} {words:?}");
    }
}

#[test]
fn devices_come_and_go() {
    let stage = Stage::new();
    let devices = Devices::new(&stage);
    let list = devices.list();
    let [edu, test] = list.lines().collect::<Vec<_>>()[..] else { panic!("{list}") };
    assert_eq!(edu, "0000:00:05.0 1234:11e8 group 5, vfio-pci");
    assert!(test.starts_with("0000:00:06.0 ") && test.ends_with(" group 6, vfio-pci"), "{test}");

    assert_eq!(devices.succeeds("unplug", &["00:05.0"]), "");
    assert!(devices.list().starts_with("0000:00:05.0 1234:11e8 group 5, unplugged\n"));
    devices.fails("bind", &["00:05.0", "vfio-pci"], "the device 0000:00:05.0 isn't there");
    devices.fails("error", &["00:05.0"], "the device 0000:00:05.0 isn't there");
    assert_eq!(devices.succeeds("plug", &["00:05.0"]), "");
    devices.fails("plug", &["00:05.0"], "the device 0000:00:05.0 is there already");
    assert!(devices.list().starts_with("0000:00:05.0 1234:11e8 group 5, no driver\n"));

    devices.fails("unbind", &["00:05.0"], "no driver is bound to 0000:00:05.0");
    devices.fails(
        "bind",
        &["00:05.0", "e1000"],
        "the lab has no driver `e1000`; it has pci-stub, pcieport, vfio-pci",
    );
    assert_eq!(devices.succeeds("bind", &["00:05.0", "pci-stub"]), "");
    devices.fails("bind", &["00:05.0", "vfio-pci"], "pci-stub is bound to 0000:00:05.0 already");
    assert_eq!(devices.succeeds("unbind", &["0000:00:05.0"]), "");
    assert_eq!(devices.succeeds("bind", &["0000:00:05.0", "vfio-pci"]), "");
    assert_eq!(devices.list(), list);

    assert_eq!(devices.succeeds("faults", &[]), "");
    devices.fails("unplug", &["00:09.0"], "there is no device `0000:00:09.0`");
    devices.lab.down();
    stage.is_clean();
}

/// A device that is in use is asked for, and goes when it is given back: whoever waits for that waits until then.
#[test]
fn a_device_in_use_is_asked_for() {
    let stage = Stage::new();
    let devices = Devices::new(&stage);
    let holder = stage.write("holder.py", HOLDER);
    for (command, state) in [("unplug", "unplugged"), ("unbind", "no driver")] {
        let mut job = stage.start(
            devices
                .lab
                .run(Some(Isolation::Namespace), None)
                .arg("sh")
                .arg("-c")
                .arg("mkfifo \"$2\" 2>/dev/null; exec python3 \"$0\" \"$1\" <>\"$2\"")
                .arg(&holder)
                .arg(REQ)
                .arg(stage.home().join("fifo")),
        );
        job.expect("open\n");
        assert!(devices.list().starts_with("0000:00:05.0 1234:11e8 group 5, vfio-pci, open once\n"));
        let in_use = "0000:00:05.0 is in use: its user has been asked for it\n";
        assert_eq!(devices.succeeds(command, &["--no-wait", "00:05.0"]), in_use);
        job.expect("asked\n");
        let mut waiting =
            stage.start(&mut stage.ioctlab(["vfio", command, "--in", devices.lab.name(), "00:05.0"]));
        waiting.expect(in_use);
        assert!(devices.list().contains(", open once\n"), "nothing is taken from who uses it");
        std::fs::write(stage.home().join("fifo"), "\n").unwrap();
        job.expect("closed\n");
        waiting.wait(SOON).succeeds();
        until(SOON, "the device has gone", || {
            devices.list().lines().next().is_some_and(|line| line.ends_with(state))
        });
        job.wait(SOON).succeeds();
        if command == "unplug" {
            devices.succeeds("plug", &["00:05.0"]);
            devices.succeeds("bind", &["00:05.0", "vfio-pci"]);
        }
    }
    devices.lab.down();
    stage.is_clean();
}

#[test]
fn a_lab_without_devices() {
    let stage = Stage::new();
    let file = stage.write("xen.toml", "[[xen.domain]]\nid = 0\n");
    let lab = Lab::up_with(&stage, &["--lab", file.to_str().unwrap()]);
    let outcome = stage.finish(&mut stage.ioctlab(["vfio", "list", "--in", lab.name()])).gives(125);
    assert_eq!(outcome.stderr, "ioctlab: the lab has no [vfio]\n");
    lab.down();
    stage.is_clean();
}

#[test]
fn wrong_words() {
    let stage = Stage::new();
    for (words, reason) in [
        (&["unplug", "--in", "x", "00:20.0"][..], "expected SEGMENT:BUS:DEVICE.FUNCTION in hexadecimal"),
        (&["bind", "--in", "x", "00:05.0", "vfio pci"], "expected a driver's name, as vfio-pci"),
        (&["bind", "--in", "x", "00:05.0"], "<DRIVER>"),
        (&["list"], "--in <LAB>"),
        (&["pull"], "unrecognized subcommand 'pull'"),
    ] {
        let mut command = stage.ioctlab(["vfio"]);
        stage.finish(command.args(words)).gives(2).complains(reason);
    }
    let help = stage.finish(&mut stage.ioctlab(["vfio", "--help"])).succeeds().stdout;
    for command in ["list", "unplug", "plug", "bind", "unbind", "error", "faults"] {
        assert!(help.lines().any(|line| line.starts_with(&format!("  {command} "))), "{help}");
    }
    stage.is_clean();
}

/// A trace names VFIO's requests by the file that they are made of, and shows what was answered.
#[test]
fn a_trace() {
    let stage = Stage::new();
    let client = "import array, fcntl, os, struct
container, group = os.open('/dev/vfio/vfio', os.O_RDWR), os.open('/dev/vfio/5', os.O_RDWR)
fcntl.ioctl(group, 0x3b68, array.array('i', [container]))
fcntl.ioctl(container, 0x3b66, 3)
fcntl.ioctl(container, 0x3b70, bytearray(struct.pack('6I', 24, 0, 0, 0, 0, 0)))
device = fcntl.ioctl(group, 0x3b6a, bytearray(b'0000:00:05.0\\0'))
fcntl.ioctl(device, 0x3b6c, bytearray(struct.pack('8I', 32, 0, 0, 0, 0, 0, 0, 0)))
try: fcntl.ioctl(device, 0x3b70, bytearray(12))
except OSError: print('as it should be')";
    for isolation in Isolation::BOTH {
        let mut command =
            stage.ioctlab(["run", "--trace", "--isolation", isolation.name(), "--", "python3", "-c"]);
        let trace = stage.finish(command.arg(client)).succeeds().prints("as it should be").stderr;
        let mut lines = trace.lines();
        for words in [
            "</dev/vfio/5>, VFIO_GROUP_SET_CONTAINER, {fd=",
            "</dev/vfio/vfio>, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) = 0",
            "VFIO_IOMMU_GET_INFO, {argsz=24} => {argsz=120, flags=PGSIZES|CAPS, iova_pgsizes=0x40201000, cap_offset=0}) = 0",
            "VFIO_GROUP_GET_DEVICE_FD, \"0000:00:05.0\") = ",
            "<anon_inode:[vfio-device]>, VFIO_DEVICE_GET_REGION_INFO, {argsz=32, index=BAR0} => {argsz=32, \
             flags=READ|WRITE|MMAP, cap_offset=0, size=0x100000, offset=0x0}) = 0",
            "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, {argsz=0}) = -1 EINVAL",
        ] {
            assert!(
                lines.any(|line| line.contains(words)),
                "no line (from there on) with {words:?} in:\n{trace}"
            );
        }
    }
}
