//! The bus against a small xenstored on the other end of its ring: tables for each kind of message, a store that
//! misbehaves, and a naive model.

mod calls;
mod fake;
mod hostile;
#[path = "../../../../tests/support/memory.rs"]
mod memory;
mod messages;
mod model;
mod random;
mod release;
mod ring;
mod toolstack;
