//! Capabilities in configuration space: which of their bits can be written.

use alloc::vec;
use alloc::vec::Vec;

use crate::config::ConfigSpace;

pub(crate) const POWER_MANAGEMENT: u8 = 0x01;
pub(crate) const MSI: u8 = 0x05;
pub(crate) const PCI_EXPRESS: u8 = 0x10;
pub(crate) const MSIX: u8 = 0x11;
pub(crate) const ADVANCED_FEATURES: u8 = 0x13;

/// The pointer to the first capability, and where those of PCI Express start.
const FIRST: usize = 0x34;
const EXTENDED: usize = 0x100;
/// The longest chain that is followed.
const MOST: usize = 64;

/// Where the capabilities are, in order, each with its number.
pub(crate) fn list(config: &ConfigSpace) -> Vec<(usize, u8)> {
    let mut found = Vec::new();
    // The status register says whether there are any.
    if config.read(6, 2) & 0x10 == 0 {
        return found;
    }
    let mut at = config.read(FIRST, 1) as usize & 0xfc;
    while at >= 0x40 && found.len() < MOST && !found.iter().any(|(other, _)| *other == at) {
        found.push((at, config.read(at, 1) as u8));
        at = config.read(at.saturating_add(1), 1) as usize & 0xfc;
    }
    found
}

/// Where a capability is.
pub(crate) fn find(config: &ConfigSpace, id: u8) -> Option<usize> {
    list(config).into_iter().find(|(_, other)| *other == id).map(|(at, _)| at)
}

/// Says which bits of the capabilities that are there can be written.
pub(crate) fn describe_all(config: &mut ConfigSpace) {
    for (at, id) in list(config) {
        match id {
            POWER_MANAGEMENT => {
                // Power state and PME enable; PME status is cleared by writing 1.
                masks(config, at.saturating_add(4), &[0x03, 0x01], &[0, 0x80]);
            }
            MSI => describe_msi(config, at),
            MSIX => masks(config, at.saturating_add(2), &[0, 0xc0], &[]),
            PCI_EXPRESS => {
                // Device control and status, link control and status, and their second ones.
                masks(config, at.saturating_add(8), &[0xff, 0x7f, 0, 0], &[0, 0, 0x0f, 0]);
                masks(config, at.saturating_add(0x10), &[0xfb, 0x0f, 0, 0], &[0, 0, 0, 0xc0]);
                if config.read(at.saturating_add(2), 2) & 0xf >= 2 {
                    masks(config, at.saturating_add(0x28), &[0xff, 0x7f], &[]);
                    masks(config, at.saturating_add(0x30), &[0xff, 0xff], &[]);
                }
            }
            _ => {}
        }
    }
    describe_extended(config);
}

fn describe_msi(config: &mut ConfigSpace, at: usize) {
    let control = config.read(at.saturating_add(2), 2);
    // Enabling, and how many of the vectors that it is capable of.
    masks(config, at.saturating_add(2), &[0x71], &[]);
    masks(config, at.saturating_add(4), &[0xfc, 0xff, 0xff, 0xff], &[]);
    let mut data = at.saturating_add(8);
    if control & 0x80 != 0 {
        masks(config, data, &[0xff; 4], &[]);
        data = at.saturating_add(12);
    }
    masks(config, data, &[0xff; 2], &[]);
    if control & 0x100 != 0 {
        masks(config, data.saturating_add(4), &[0xff; 4], &[]);
    }
}

/// Advanced error reporting: what is cleared by writing 1, and the masks.
fn describe_extended(config: &mut ConfigSpace) {
    let mut at = EXTENDED;
    for _ in 0..MOST {
        let header = config.read(at, 4);
        if at >= config.size() || header == 0 || header == u32::MAX {
            return;
        }
        if header & 0xffff == 1 {
            masks(config, at.saturating_add(4), &[0; 4], &[0x30, 0xf0, 0x7f, 0x03]);
            masks(config, at.saturating_add(8), &[0x30, 0xf0, 0x7f, 0x03], &[]);
            masks(config, at.saturating_add(12), &[0x30, 0xf0, 0x7f, 0x03], &[]);
            masks(config, at.saturating_add(16), &[0; 4], &[0xc1, 0x31, 0, 0]);
            masks(config, at.saturating_add(20), &[0xc1, 0x31, 0, 0], &[]);
        }
        at = (header >> 20) as usize & 0xffc;
        if at < EXTENDED {
            return;
        }
    }
}

/// Says which bits can be written where something is already.
fn masks(config: &mut ConfigSpace, offset: usize, writable: &[u8], clears: &[u8]) {
    let there = config.bytes().get(offset..).map(|rest| rest.iter().copied().take(writable.len()).collect());
    let there: Vec<u8> = there.unwrap_or_default();
    let clears = if clears.is_empty() { vec![0; writable.len()] } else { clears.to_vec() };
    config.describe(offset, &there, writable, &clears);
}
