//! A simulated PCI bus: functions with their configuration space, their memory, and models of what they do.
//!
//! A [`Function`] is what software finds at an address: configuration space, BARs, a ROM, an interrupt pin. A
//! [`DeviceModel`] is what its registers do. The two are apart, as whoever runs them has the one at hand at all times, and
//! lets the other work, perhaps for long, on its own. The bytes of BARs that are memory are outside as well, since programs have
//! them mapped: a model gets at them by its [`Bus`], like everything else that it does to the world.
//!
//! # A device of one's own
//! A model is a page of code: a description, and two functions for its registers. This one counts how often it was asked:
//!
//! ```
//! use ioctlab_pci::{Address, Bar, Bus, Description, Device, DeviceModel, Function, Header};
//!
//! struct Counter(u32);
//!
//! impl DeviceModel for Counter {
//!     fn read(&mut self, _bar: u8, offset: u64, _width: u8, _bus: &mut dyn Bus) -> u64 {
//!         match offset {
//!             0 => {
//!                 self.0 += 1;
//!                 u64::from(self.0)
//!             }
//!             _ => u64::MAX,
//!         }
//!     }
//!
//!     fn write(&mut self, _bar: u8, offset: u64, _width: u8, value: u64, bus: &mut dyn Bus) {
//!         if offset == 0 {
//!             self.0 = value as u32;
//!             // Its interrupt is a message if that is how they are enabled, and its pin else.
//!             bus.interrupt(0);
//!         }
//!     }
//!
//!     fn peek(&self, _bar: u8, offset: u64) -> u32 {
//!         if offset == 0 { self.0 } else { u32::MAX }
//!     }
//!
//!     fn reset(&mut self, _bus: &mut dyn Bus) {
//!         self.0 = 0;
//!     }
//! }
//!
//! let header = Header { vendor: 0x1af4, device: 0x10f1, class: 0x00ff00, ..Header::default() };
//! let mut description = Description::new(header);
//! description.bars[0] = Some(Bar::memory(4096).with_registers(4));
//! description.msi = Some(1);
//! let device = Device { function: Function::new(description), model: Box::new(Counter(0)) };
//! assert_eq!(device.function.config().read(0, 4), 0x10f1_1af4);
//! # let _: Address = "0000:00:05.0".parse()?;
//! # Ok::<(), ioctlab_pci::BadAddress>(())
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

extern crate alloc;

mod address;
mod bar;
mod capability;
mod config;
mod description;
mod function;
pub mod lspci;
mod model;
pub mod models;

pub use address::{Address, BadAddress};
pub use bar::{Bar, BarKind};
pub use config::ConfigSpace;
pub use description::{Description, Header};
pub use function::{Firmware, Function, Msix};
pub use model::{Bus, Device, DeviceModel, DmaFault, InterruptMode};
