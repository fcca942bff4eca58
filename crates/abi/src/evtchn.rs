//! `/dev/xen/evtchn`: request numbers and argument layouts of `include/uapi/xen/evtchn.h`.
//!
//! All of them are `_IOC_NONE`, whatever way the argument goes. Integers are in the machine's byte order.

use crate::{Direction, Request};

/// The ioctl type byte.
pub const KIND: u8 = b'E';

const fn request(number: u8, size: u16) -> Request {
    Request::new(Direction::None, KIND, number, size)
}

/// Bind a fresh port to a VIRQ of vcpu 0. Argument: [`word`] `virq`. Returns the port.
pub const BIND_VIRQ: Request = request(0, 4);
/// Bind a fresh port to a remote domain's unbound port. Argument: [`pair`] `remote_domain, remote_port`. Returns the port.
pub const BIND_INTERDOMAIN: Request = request(1, 8);
/// Allocate a port that a remote domain may bind to. Argument: [`word`] `remote_domain`. Returns the port.
pub const BIND_UNBOUND_PORT: Request = request(2, 4);
/// Unbind a port of this file. Argument: [`word`] `port`.
pub const UNBIND: Request = request(3, 4);
/// Notify a port's remote end. Argument: [`word`] `port`.
pub const NOTIFY: Request = request(4, 4);
/// Empty the ring and clear an overflow. No argument.
pub const RESET: Request = request(5, 0);
/// Restrict this file to one remote domain, for good. Argument: [`half_word`] `domid`.
pub const RESTRICT_DOMID: Request = request(6, 2);
/// Bind a port that exists already, and do not close it on release. Argument: [`word`] `port`.
pub const BIND_STATIC: Request = request(7, 4);

/// The size of a port number in the stream that read and write move, in bytes.
pub const PORT_SIZE: usize = 4;

/// A one-word argument (`u32`).
pub const fn word(bytes: [u8; 4]) -> u32 {
    u32::from_ne_bytes(bytes)
}

/// A one-half-word argument (`u16`).
pub const fn half_word(bytes: [u8; 2]) -> u16 {
    u16::from_ne_bytes(bytes)
}

/// A two-word argument (`u32, u32`).
pub const fn pair(bytes: [u8; 8]) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = bytes;
    (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]))
}
