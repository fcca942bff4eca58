//! The crate `xenevtchn` (libxenevtchn by libloading) between two threads, each with a file of its own.
//!
//! The crate can only bind to a port that exists, so the main thread makes the unbound ports by the raw ioctl.
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::thread;
use xenevtchn::XenEventChannel;

const BIND_UNBOUND_PORT: u64 = 0x44502;
const NOTIFY: u64 = 0x44504;
const ROUNDS: u32 = 500;

extern "C" {
    fn ioctl(fd: i32, request: u64, ...) -> i32;
}

fn call(file: &File, request: u64, mut arg: u32) -> u32 {
    // SAFETY: both requests take a pointer to one u32, which lives through the call.
    let result = unsafe { ioctl(file.as_raw_fd(), request, &mut arg as *mut u32) };
    assert!(result >= 0, "{}", std::io::Error::last_os_error());
    result as u32
}

/// Blocks for the next event, which must be `port`'s, and unmasks it.
fn expect(mut file: &File, port: u32) {
    let mut got = [0; 4];
    assert_eq!(file.read(&mut got).unwrap(), 4);
    assert_eq!(u32::from_ne_bytes(got), port);
    assert_eq!(file.write(&got).unwrap(), 4);
}

fn main() {
    let domain: u32 = std::env::var("XEN_SELF").ok().and_then(|s| s.parse().ok()).unwrap_or(0);
    let device = "/dev/xen/evtchn"; // the library's; it can't be told another
    let file = OpenOptions::new().read(true).write(true).open(device).unwrap();
    let port = call(&file, BIND_UNBOUND_PORT, domain);

    let other = thread::spawn(move || {
        let channel = XenEventChannel::new(domain, port).expect("xenevtchn_bind_interdomain");
        let ours = channel.get_bind_port();
        assert!(channel.xenevtchn_fd().unwrap() >= 0);
        for _ in 0..=ROUNDS {
            // the first is the one that binding raises
            assert_eq!(channel.xenevtchn_pending().unwrap(), ours);
            channel.xenevtchn_unmask(ours as u32).unwrap();
            channel.xenevtchn_notify().unwrap();
        }
    });
    expect(&file, port);
    for _ in 0..ROUNDS {
        call(&file, NOTIFY, port);
        expect(&file, port);
    }
    other.join().unwrap();

    assert!(XenEventChannel::new(domain, 0).is_err());
    println!("ok rust-xenevtchn");
}
