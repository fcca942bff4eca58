//! Functions and their configuration space, the models, and what is made of `lspci`'s output: tables, what QEMU and Linux showed of
//! the same devices, and naive models.

extern crate alloc;

mod address;
mod board;
mod capabilities;
mod config;
#[expect(unreachable_pub, reason = "it is public where it is a file of the crate")]
mod counter;
mod edu;
mod example;
mod interrupts;
mod lspci;
mod lspci_bad;
mod lspci_random;
mod random;
mod recorded;
mod resets;
mod test_device;

/// Modules of the crate's as `counter.rs` names them, which is written as one of the crate's own files.
mod bar {
    pub(crate) use ioctlab_pci::Bar;
}
mod description {
    pub(crate) use ioctlab_pci::{Description, Header};
}
mod function {
    pub(crate) use ioctlab_pci::Function;
}
mod model {
    pub(crate) use ioctlab_pci::{Bus, Device, DeviceModel};
}
