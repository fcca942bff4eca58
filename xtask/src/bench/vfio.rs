//! VFIO: a device's mappings, registers, interrupts, and copies.

use std::thread::available_parallelism;

use anyhow::Result;

use super::Bench;
use super::case::{Case, alternate};
use super::table::{Aim, Row};

/// A lab with the devices, in which a program may map as much as it likes.
pub(super) const LAB: &str = "devices.toml";
pub(super) const LAB_TEXT: &str = r#"[vfio]
locked_memory = "unlimited"
dma_entry_limit = 2000000

[[vfio.device]]
address = "0000:00:05.0"
model = "edu"
group = 5

[[vfio.device]]
address = "0000:00:06.0"
model = "test"
memory = "1MiB"
group = 6
"#;

/// How often a million mappings are made at most: it takes some 20 s, and each figure is a median by itself.
const MILLIONS: u32 = 3;

impl Bench {
    pub(super) fn vfio(&self) -> Result<Vec<Row>> {
        let mut rows = self.dma_maps()?;
        rows.extend(self.device_accesses()?);
        rows.extend(self.interrupts()?);
        Ok(rows)
    }

    /// What a map costs must depend neither on how much is mapped, nor on how many mappings there are.
    fn dma_maps(&self) -> Result<Vec<Row>> {
        let case = self.in_lab(LAB, "maps", &["./vfio_maps"]);
        let figures = alternate(&self.stage, self.rounds.min(MILLIONS), case.as_slice())?;
        let get = |figure| figures.get("maps", figure);
        let small = get("4KiB,10");
        let row =
            |label, figure, to, base, most| Row::new((label, get(figure)), (to, get(base)), Aim::Ratio(most));
        Ok(vec![
            row("MAP_DMA, UNMAP_DMA of 2 MiB, 10 live", "2MiB,10", "of 4 KiB", "4KiB,10", 1.1),
            row("... of 1 GiB", "1GiB,10", "of 4 KiB", "4KiB,10", 1.1),
            row("... of 1 GiB, 1,000,000 live", "1GiB,1000000", "of 4 KiB", "4KiB,1000000", 1.1),
            Row::new(("... of 4 KiB, 10,000 live", get("4KiB,10000")), ("10", small), Aim::Ratio(2.0)),
            Row::new(("... of 4 KiB, 1,000,000 live", get("4KiB,1000000")), ("10", small), Aim::Ratio(2.0)),
            row("... of 1 GiB, 1,000,000 live", "1GiB,1000000", "10", "1GiB,10", 2.0),
        ])
    }

    fn device_accesses(&self) -> Result<Vec<Row>> {
        let figures = self.alternate(vec![
            Some(Case::new("bare", &["./bare_notify"])),
            self.in_lab(LAB, "device", &["./vfio_calls"]),
        ])?;
        let bare = ("a bare seccomp notification", figures.get("bare", "bare"));
        let device = |label, figure| (label, figures.get("device", figure));
        Ok(vec![
            Row::new(device("pread of 4 bytes of configuration space", "config"), bare, Aim::None),
            Row::new(device("... of a register", "register"), bare, Aim::None),
            Row::new(
                device("64 MiB copied by a device", "copy"),
                device("memcpy by the program", "memcpy"),
                Aim::Ratio(2.0),
            ),
        ])
    }

    fn interrupts(&self) -> Result<Vec<Row>> {
        let mut cases = vec![
            Some(Case::new("pipe", &["./pingpong_pipe"])),
            self.in_lab(LAB, "interrupt", &["./pingpong_vfio"]),
        ];
        if available_parallelism()?.get() > 1 {
            cases.push(Some(Case::new("pipe, two", &["./pingpong_pipe", "apart"])));
            cases.push(self.in_lab(LAB, "interrupt, two", &["./pingpong_vfio", "apart"]));
        }
        let figures = self.alternate(cases)?;
        let row = |label, name, base, figure| {
            let compared_to = ("the same over a pipe", figures.get(base, figure));
            Row::new((label, figures.get(name, figure)), compared_to, Aim::None)
        };
        Ok(vec![
            row("a device's interrupt to read of an eventfd", "interrupt", "pipe", "oneway"),
            row("half a round trip by interrupts", "interrupt", "pipe", "half"),
            row("... on two processors", "interrupt, two", "pipe, two", "half"),
        ])
    }
}
