//! End to end: unmodified programs under the `ioctlab` that users get, on the system calls of this machine's Linux.
//!
//! Nothing is skipped: without a program or a kernel feature that a test needs, it fails and says what is missing.
//! What is known to differ from Linux is listed in `differences`, and not run.
//!
//! If the tests run as root, ioctlab and the programs run as an ordinary user all the same (see [`stage`]).
#![expect(clippy::print_stderr, reason = "rates and seeds are for who reads the output")]

mod build;
mod clients;
mod conformance;
mod container;
mod differences;
mod forks;
mod hostile;
mod identity;
mod idle;
mod job;
mod kills;
mod odd;
mod shared;
mod stage;
mod status;
mod storm;
mod terminal;
mod tools;
mod trace;
mod vfio_clients;
mod vfio_devices;
mod xen_tools;
mod xenfs;
