//! Configuration space as a program sees it.

use alloc::vec;
use alloc::vec::Vec;

use ioctlab_chardev::{Errno, UserMemory, UserPtr};

use crate::device::Device;
use crate::function::Function;
use crate::interrupts::Kind;
use crate::permissions::{Owner, Permissions};

/// Registers of the header.
const COMMAND: usize = 0x04;
const BARS: core::ops::Range<usize> = 0x10..0x28;
const ROM: usize = 0x30;
/// Bits of the command register.
const IO: u32 = 1 << 0;
const MEMORY: u32 = 1 << 1;
const INTX_DISABLE: u32 = 1 << 10;
/// Bits of MSI's control register: enabled, how many vectors are wanted, and how many there are (as powers of two).
const MSI_ENABLE: u32 = 1 << 0;
const MSI_WANTED: u32 = 0x70;
const MSI_THERE: u32 = 0x0e;

/// A program's view of configuration space.
pub(crate) struct Config {
    permissions: Permissions,
    /// What it sees of the bits that aren't the hardware's.
    copy: Vec<u8>,
    /// BARs were written and not looked at since.
    bars_changed: bool,
    /// MSI: how many vectors there are at most, as a power of two.
    msi_most: u32,
}

impl Config {
    pub(crate) fn new(function: &dyn Function) -> Self {
        let mut copy = vec![0; function.config_size()];
        let permissions = Permissions::of(function, &mut copy);
        let msi_most = function.msi_vectors().checked_ilog2().unwrap_or(0);
        Self { permissions, copy, bars_changed: true, msi_most }
    }

    /// MSI was enabled with so many vectors.
    pub(crate) fn set_msi_vectors(&mut self, vectors: u32) {
        self.msi_most = vectors.next_power_of_two().checked_ilog2().unwrap_or(0);
    }

    /// The copy's own value of a register.
    pub(crate) fn own(&self, offset: usize, width: usize) -> u32 {
        read(&self.copy, offset, width)
    }

    /// Whether memory is enabled, as the program has it, and the device isn't asleep.
    pub(crate) fn has_memory(&self, function: &dyn Function) -> bool {
        self.own(COMMAND, 2) & MEMORY != 0 && self.power_state(function) < 3
    }

    fn power_state(&self, function: &dyn Function) -> u32 {
        let power = self.permissions.power;
        power.map_or(0, |at| function.read_config(at.saturating_add(4), 2) & 3)
    }

    /// How many bytes from `offset` on are read or written at once: aligned, and of one owner.
    fn piece(&self, offset: usize, count: usize) -> usize {
        let owner = |at: usize| self.permissions.owners.get(at).copied();
        let whole = (1..4)
            .take_while(|ahead| {
                let at = offset.saturating_add(*ahead);
                !at.is_multiple_of(4) && owner(at) == owner(offset)
            })
            .count()
            .saturating_add(1);
        match count.min(whole) {
            4 if offset.is_multiple_of(4) => 4,
            2.. if offset.is_multiple_of(2) => 2,
            _ => 1,
        }
    }

    fn read(&mut self, offset: usize, width: usize, function: &dyn Function) -> u32 {
        let end = offset.saturating_add(width);
        if self.bars_changed
            && (offset < BARS.end && end > BARS.start || offset < ROM.saturating_add(4) && end > ROM)
        {
            self.fix_bars(function);
        }
        if let Some(at) = self.permissions.msi {
            let control = at.saturating_add(2);
            if offset <= control && end > control {
                let there = read(&self.copy, control, 2) & !MSI_THERE | self.msi_most << 1;
                write(&mut self.copy, control, 2, there);
            }
        }
        let copied = read(&self.permissions.copied, offset, width);
        let own = read(&self.copy, offset, width);
        function.read_config(offset, width) & !copied | own & copied
    }

    /// BARs keep the bits that addresses have, and say what they are (`vfio_bar_fixup`).
    fn fix_bars(&mut self, function: &dyn Function) {
        let mut index: u32 = 0;
        while index < 6 {
            let at = BARS.start.saturating_add((index as usize).saturating_mul(4));
            let Some(bar) = function.bar(index).filter(|bar| bar.size > 0) else {
                write(&mut self.copy, at, 4, 0);
                index = index.saturating_add(1);
                continue;
            };
            let mask = bar.size.wrapping_neg();
            let kind = match (bar.is_memory, bar.is_wide, bar.is_prefetchable) {
                (false, ..) => 1,
                (true, wide, prefetchable) => u32::from(wide) << 2 | u32::from(prefetchable) << 3,
            };
            let low = read(&self.copy, at, 4) & mask as u32 | kind;
            write(&mut self.copy, at, 4, low);
            index = index.saturating_add(1);
            if bar.is_wide {
                let upper = at.saturating_add(4);
                let high = read(&self.copy, upper, 4) & (mask >> 32) as u32;
                write(&mut self.copy, upper, 4, high);
                index = index.saturating_add(1);
            }
        }
        let rom = match function.rom_size() {
            0 => 0,
            size => read(&self.copy, ROM, 4) & (size.wrapping_neg() as u32 | 1),
        };
        write(&mut self.copy, ROM, 4, rom);
        self.bars_changed = false;
    }

    /// Writes what can be written: to the copy or to the hardware, bit by bit.
    fn write(&mut self, offset: usize, width: usize, value: u32, function: &mut dyn Function) {
        let writable = read(&self.permissions.writable, offset, width);
        let copied = read(&self.permissions.copied, offset, width);
        if writable & copied != 0 {
            let bits = writable & copied;
            let own = read(&self.copy, offset, width) & !bits | value & bits;
            write(&mut self.copy, offset, width, own);
        }
        if writable & !copied != 0 {
            let bits = writable & !copied;
            let there = function.read_config(offset, width) & !bits | value & bits;
            function.write_config(offset, width, there);
        }
    }
}

impl Device {
    /// # Errors
    /// `EFAULT` beyond its end, and for a bad buffer; a part may have been read.
    pub(crate) fn read_config(
        &mut self,
        offset: u64,
        to: UserPtr,
        count: usize,
        memory: &mut dyn UserMemory,
        function: &mut dyn Function,
    ) -> Result<usize, Errno> {
        let config = self.config.as_mut().ok_or(Errno::ENODEV)?;
        let size = function.config_size();
        let mut done: usize = 0;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        while done < count {
            let at = start.saturating_add(done);
            if at >= size {
                return Err(Errno::EFAULT);
            }
            let width = config.piece(at, count.saturating_sub(done));
            let bytes = config.read(at, width, function).to_le_bytes();
            memory.write(to.behind(done)?, bytes.get(..width).unwrap_or_default())?;
            done = done.saturating_add(width);
        }
        Ok(count)
    }

    /// # Errors
    /// `EFAULT` beyond its end, and for a bad buffer; a part may have been written.
    pub(crate) fn write_config(
        &mut self,
        offset: u64,
        from: UserPtr,
        count: usize,
        memory: &mut dyn UserMemory,
        function: &mut dyn Function,
    ) -> Result<usize, Errno> {
        let size = function.config_size();
        let mut done: usize = 0;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        while done < count {
            let at = start.saturating_add(done);
            if at >= size {
                return Err(Errno::EFAULT);
            }
            let config = self.config.as_ref().ok_or(Errno::ENODEV)?;
            let width = config.piece(at, count.saturating_sub(done));
            let mut bytes = [0; 4];
            memory.read(from.behind(done)?, bytes.get_mut(..width).unwrap_or_default())?;
            self.write_piece(at, width, u32::from_le_bytes(bytes), function);
            done = done.saturating_add(width);
        }
        Ok(count)
    }

    fn write_piece(&mut self, at: usize, width: usize, value: u32, function: &mut dyn Function) {
        let Some(config) = &mut self.config else { return };
        config.write(at, width, value, function);
        let end = at.saturating_add(width);
        match config.permissions.owners.get(at) {
            Some(Owner::Header) if at < COMMAND.saturating_add(2) && end > COMMAND => {
                self.command_written(at, width, value, function);
            }
            Some(Owner::Header)
                if at < BARS.end && end > BARS.start
                    || at == ROM
                    || (ROM..ROM.saturating_add(4)).contains(&at) =>
            {
                config.bars_changed = true;
            }
            Some(Owner::Capability { start, .. }) => {
                let start = usize::from(*start);
                let touches = |offset: usize| {
                    let register = start.saturating_add(offset);
                    at <= register.saturating_add(1) && end > register
                };
                if config.permissions.msi == Some(start) && touches(2) {
                    self.msi_control_written(start, function);
                } else if config.permissions.power == Some(start) && touches(4) {
                    self.power_written(start, at, value, function);
                } else if config.permissions.express == Some(start) && touches(8) {
                    self.express_control_written(start, function);
                }
            }
            _ => {}
        }
    }

    fn command_written(&mut self, at: usize, width: usize, value: u32, function: &mut dyn Function) {
        let Some(config) = &mut self.config else { return };
        if at == COMMAND {
            let own = config.own(COMMAND, 2) & !(MEMORY | IO) | value & (MEMORY | IO);
            write(&mut config.copy, COMMAND, 2, own);
        }
        let _ = width;
        let is_disabled = config.own(COMMAND, 2) & INTX_DISABLE != 0;
        self.update_reachable(function);
        self.set_pin_disabled(is_disabled, function);
    }

    fn msi_control_written(&mut self, start: usize, function: &mut dyn Function) {
        let is_msi = self.interrupts.kind == Some(Kind::Msi);
        let Some(config) = &mut self.config else { return };
        let at = start.saturating_add(2);
        let mut control = read(&config.copy, at, 2);
        // It is enabled by ioctl only.
        if !is_msi {
            control &= !MSI_ENABLE;
        }
        if (control & MSI_WANTED) >> 4 > config.msi_most {
            control = control & !MSI_WANTED | config.msi_most << 4;
        }
        write(&mut config.copy, at, 2, control);
        function.write_config(at, 2, control);
    }

    /// The power state is changed by the driver: the bits themselves can't be written.
    fn power_written(&mut self, start: usize, at: usize, value: u32, function: &mut dyn Function) {
        let control = start.saturating_add(4);
        if at == control {
            let there = function.read_config(control, 2) & !3 | value & 3;
            function.write_config(control, 2, there);
            self.update_reachable(function);
        }
    }

    /// Function-level reset, asked for in the device control register.
    fn express_control_written(&mut self, start: usize, function: &mut dyn Function) {
        let Some(config) = &mut self.config else { return };
        let at = start.saturating_add(8);
        let control = read(&config.copy, at, 2);
        if control & 0x8000 != 0 {
            write(&mut config.copy, at, 2, control & 0x7fff);
            if function.read_config(start.saturating_add(4), 4) & 1 << 28 != 0 {
                self.reset_function(function);
                self.wants_model_reset = true;
            }
        }
    }

    /// Mappings reach the device's memory while it is enabled.
    pub(crate) fn update_reachable(&mut self, function: &mut dyn Function) {
        let reachable = self.has_memory(function);
        if self.is_reachable != reachable {
            self.is_reachable = reachable;
            function.set_reachable(reachable);
        }
    }

    pub(crate) fn has_memory(&self, function: &dyn Function) -> bool {
        !self.is_asleep && self.config.as_ref().is_some_and(|config| config.has_memory(function))
    }
}

fn read(bytes: &[u8], offset: usize, width: usize) -> u32 {
    let byte = |at: usize| bytes.get(offset.saturating_add(at)).copied().unwrap_or(0);
    let word = [0, 1, 2, 3].map(|at| if at < width { byte(at) } else { 0 });
    u32::from_le_bytes(word)
}

fn write(bytes: &mut [u8], offset: usize, width: usize, value: u32) {
    for (to, from) in bytes.iter_mut().skip(offset).zip(value.to_le_bytes()).take(width) {
        *to = from;
    }
}
