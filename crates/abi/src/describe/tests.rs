//! What is printed.

extern crate std;
use std::string::{String, ToString};

use super::*;

fn ioctl(request: Request, bytes: &[u8]) -> String {
    Ioctl { call: Call { request, role: Role::Other }, value: 0x1000, bytes }.to_string()
}

#[test]
fn an_ioctl_prints_its_fields() {
    let printed = ioctl(evtchn::BIND_INTERDOMAIN, &[1, 0, 0, 0, 5, 0, 0, 0]);
    assert_eq!(printed, "IOCTL_EVTCHN_BIND_INTERDOMAIN, {remote_domain=1, remote_port=5}");
    assert_eq!(ioctl(evtchn::RESET, &[]), "IOCTL_EVTCHN_RESET");
    assert_eq!(ioctl(Request(0x5401), &[]), "0x5401");
    assert_eq!(ioctl(evtchn::NOTIFY, &[1, 0, 0]), "IOCTL_EVTCHN_NOTIFY, 0x1000 (bad address)");
    assert_eq!(ioctl(Request(0x8004_5401), &[]), "0x80045401, 0x1000 (bad address)");
}

#[test]
fn padding_is_not_printed() {
    let printed = ioctl(privcmd::MMAP, &[1, 0, 0, 0, 2, 0, 9, 9, 3, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(printed, "IOCTL_PRIVCMD_MMAP, {num=1, dom=2, entry=3}");
    for known in KNOWN.iter().filter(|known| !known.fields.is_empty()) {
        let total: usize = known.fields.iter().map(|(_, size)| size).sum();
        assert_eq!(total, known.request.size(), "{}", known.name);
    }
}

#[test]
fn messages_of_xenstore_print_header_and_text() {
    let header =
        xenbus::Header { kind: xenbus::kind::READ, request: 1, transaction: 0, length: 5 }.to_bytes();
    assert_eq!(StoreBytes(&header).to_string(), "XS_READ, {req=1, tx=0, len=5}");
    let mut message = std::vec::Vec::from(header);
    message.extend(b"/vm\xff\0");
    assert_eq!(StoreBytes(&message).to_string(), r#"XS_READ, {req=1, tx=0, len=5}, "/vm\xff\x00""#);
    assert_eq!(StoreBytes(b"domid\0").to_string(), r#""domid\x00""#);
    assert_eq!(StoreBytes(&[20; 17]).to_string(), std::format!("\"{}\"", [20; 17].escape_ascii()));
}

#[test]
fn flags_print_by_name() {
    assert_eq!(open_flags(0o2_004_002).to_string(), "O_RDWR|O_NONBLOCK|O_CLOEXEC");
    assert_eq!(open_flags(0o10_000_000).to_string(), "O_RDONLY|0o10000000");
}

#[test]
fn words_print_as_numbers() {
    assert_eq!(Words(&[5, 0, 0, 0, 7, 0, 0, 0, 9]).to_string(), "[5, 7 09]");
}
