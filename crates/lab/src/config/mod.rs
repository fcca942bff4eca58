//! The lab file: a TOML text that says which machines and devices a program is to find.
//!
//! # Usage
//! [`Lab::load`] reads a file, [`Lab::parse`] a text, [`Lab::built_in`] the lab that stands in when no file is given.
//! All three give plain data, checked as far as the file alone allows, or [`Errors`]: every problem found, each with its
//! place in the file, in words for the person who wrote it. Nothing here panics, whatever the text.
//!
//! # A further section
//! Each top-level table is one file here (`xen.rs`): its key lists, its plain structs, and one `read` function that
//! takes a `Table`. It then moves from `PLANNED` to `SECTIONS` below.

#[cfg(test)]
mod bad_files;
mod diagnostic;
mod reader;
mod source;
mod suggest;
mod table;
#[cfg(test)]
mod tests;
mod value;
pub mod vfio;
pub mod xen;

use std::path::Path;

pub use diagnostic::{Errors, Place, Problem};
pub use ioctlab_pci::Address;
pub use vfio::{CloneOf, LockedMemory, Model, Vfio, VfioDevice};
pub use xen::{Domain, EventChannels, GrantTableVersion, Xen};

use reader::Reader;
use table::Table;

/// The text of the built-in lab.
pub const BUILT_IN: &str = include_str!("../../../../labs/default.toml");

/// The sections that this version reads.
const SECTIONS: &[&str] = &["xen", "vfio"];

/// The sections that a later version will read, and what they are about.
const PLANNED: &[(&str, &str)] = &[("vme", "VMEbus bridge"), ("zvm", "z/VM guest")];

/// A lab, as its file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lab {
    /// The Xen host, if the lab has one (`[xen]`).
    pub xen: Option<Xen>,
    /// The machine with VFIO, if the lab has one (`[vfio]`).
    pub vfio: Option<Vfio>,
}

impl Lab {
    /// Reads the lab file at `path`.
    ///
    /// # Errors
    /// When the file can't be read, isn't UTF-8 or TOML, or says something that no lab can be.
    pub fn load(path: &Path) -> Result<Self, Errors> {
        let name = path.display().to_string();
        let text = source::read(path, &name)?;
        Self::parse(&name, &text)
    }

    /// Reads a lab from `text`; `name` is what errors call it.
    ///
    /// # Errors
    /// As [`Lab::load`], without those of reading a file.
    pub fn parse(name: &str, text: &str) -> Result<Self, Errors> {
        let reader = Reader::new(name, text);
        let tree = reader.parse();
        let lab = tree.as_ref().map(|tree| read(&reader, &Table::root(&reader, tree), name));
        reader.finish(lab)
    }

    /// The lab that stands in when no file is given: a Xen host with domains 0, 1 and 2, and two PCI devices for VFIO.
    ///
    /// # Errors
    /// None, as the tests see to; the type is that of [`Lab::load`], whose place it takes.
    pub fn built_in() -> Result<Self, Errors> {
        Self::parse("built-in lab", BUILT_IN)
    }

    /// The domain that a program runs as when none is named: the one with the lowest id.
    pub fn default_domain(&self) -> Option<&Domain> {
        self.xen.as_ref()?.domains.first()
    }
}

/// Reads the sections that are there, and reports what is no section.
fn read(reader: &Reader<'_>, root: &Table<'_>, name: &str) -> Lab {
    for (key, span) in root.keys() {
        if let Some((_, about)) = PLANNED.iter().find(|(planned, _)| *planned == key) {
            reader.report(span, format!("this version of ioctlab has no {about} yet ([{key}])"));
        } else if !SECTIONS.contains(&key) {
            reader.report(span, suggest::unknown("section", key, "", SECTIONS));
        }
    }
    if root.is_empty() {
        reader.report_file(format!("describes nothing; expected {}", suggest::one_of(SECTIONS)));
    }
    let xen = root.get("xen").and_then(|value| value.table("[xen]", xen::KEYS));
    let vfio = root.get("vfio").and_then(|value| value.table("[vfio]", vfio::KEYS));
    Lab { xen: xen.map(|table| xen::read(&table)), vfio: vfio.map(|table| vfio::read(&table, name)) }
}
