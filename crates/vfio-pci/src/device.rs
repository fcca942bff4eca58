//! A device that is bound to the driver, and its calls.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use ioctlab_abi::vfio::{
    DEVICE_FEATURE, DEVICE_GET_INFO, DEVICE_GET_IRQ_INFO, DEVICE_GET_PCI_HOT_RESET_INFO,
    DEVICE_GET_REGION_INFO, DEVICE_IOEVENTFD, DEVICE_PCI_HOT_RESET, DEVICE_RESET, DEVICE_SET_IRQS,
};
use ioctlab_chardev::{CallResult, Caller, Errno, Event, EventId, Request, UserPtr};

use crate::config::Config;
use crate::function::{Function, Mode, Neighbour};
use crate::interrupts::Interrupts;
use crate::ioeventfd::RegisterWrite;

/// The command register's bit for bus mastering, and the register.
const COMMAND: usize = 4;
const BUS_MASTER: u32 = 1 << 2;

/// What an ioctl comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// It returns this.
    Value(i64),
    /// The device's registers have been reset, and what they hold has been restored; its model is to be reset, too.
    Reset,
    /// The same is to be done with all of these.
    HotReset(Vec<Neighbour>),
}

/// A device (`vfio_pci_core_device`).
#[derive(Default)]
pub struct Device {
    /// What a program sees of configuration space, while it has the device.
    pub(crate) config: Option<Config>,
    pub(crate) interrupts: Interrupts,
    pub(crate) register_writes: Vec<(EventId, RegisterWrite)>,
    pub(crate) events: VecDeque<Event>,
    /// What configuration space held before a program had it.
    saved: Vec<u8>,
    /// Mappings reach its memory.
    pub(crate) is_reachable: bool,
    /// A program lets it sleep (`VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY`).
    pub(crate) is_asleep: bool,
    /// Its model is to be reset.
    pub(crate) wants_model_reset: bool,
}

impl Device {
    /// A device that nobody has open.
    pub fn new() -> Self {
        Self::default()
    }

    /// A program opens it, the first to do so (`vfio_pci_core_enable`). If it can be reset it is, and so is its model to be.
    pub fn open(&mut self, function: &mut dyn Function) {
        clear_bus_master(function);
        self.saved = hardware(function);
        self.reset_function(function);
        self.wants_model_reset = function.can_reset();
        self.config = Some(Config::new(function));
        self.is_asleep = false;
        self.is_reachable = false;
        self.update_reachable(function);
    }

    /// The last file of it is gone (`vfio_pci_core_disable`): interrupts are off, eventfds let go of, and configuration space is
    /// as it was before.
    pub fn close(&mut self, function: &mut dyn Function) {
        self.disable_interrupts(function);
        for event in core::mem::take(&mut self.interrupts.single).into_iter().flatten() {
            self.events.push_back(Event::LetGo(event));
        }
        for (event, _) in core::mem::take(&mut self.register_writes) {
            self.events.push_back(Event::LetGo(event));
        }
        self.interrupts = Interrupts::default();
        self.config = None;
        self.is_asleep = false;
        function.reset();
        self.wants_model_reset = function.can_reset();
        restore(&core::mem::take(&mut self.saved), function);
        clear_bus_master(function);
        self.is_reachable = false;
        function.set_reachable(false);
    }

    /// `ioctl(2)`.
    ///
    /// # Errors
    /// `ENOTTY` for a request that it doesn't know; else those of the request.
    pub fn ioctl(
        &mut self,
        request: Request,
        argument: u64,
        caller: &mut dyn Caller,
        function: &mut dyn Function,
    ) -> CallResult<Done> {
        let argument = UserPtr(argument);
        match request {
            DEVICE_GET_INFO => self.get_info(argument, caller, function)?,
            DEVICE_GET_REGION_INFO => self.get_region_info(argument, caller, function)?,
            DEVICE_GET_IRQ_INFO => self.get_irq_info(argument, caller, function)?,
            DEVICE_SET_IRQS => self.set_irqs(argument, caller, function)?,
            DEVICE_RESET => return Ok(self.reset(function)?),
            DEVICE_GET_PCI_HOT_RESET_INFO => self.hot_reset_info(argument, caller, function)?,
            DEVICE_PCI_HOT_RESET => return Ok(self.hot_reset(argument, caller, function)?),
            DEVICE_IOEVENTFD => self.set_ioeventfd(argument, caller, function)?,
            DEVICE_FEATURE => self.feature(argument, caller, function)?,
            _ => return Err(Errno::ENOTTY.into()),
        }
        Ok(Done::Value(0))
    }

    /// The next thing to be done with a program's eventfd.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether the model is to be reset; asked once each time.
    pub fn take_model_reset(&mut self) -> bool {
        core::mem::take(&mut self.wants_model_reset)
    }

    /// Resets the function's registers, if it can do that, and restores what they held (`pci_try_reset_function`).
    pub(crate) fn reset_function(&mut self, function: &mut dyn Function) {
        if function.can_reset() {
            let held = hardware(function);
            function.reset();
            restore(&held, function);
            self.update_reachable(function);
        }
    }

    /// All of its interrupts are off.
    pub(crate) fn disable_interrupts(&mut self, function: &mut dyn Function) {
        self.disable_kind(function);
        function.set_mode(Mode::Pin, 0);
    }
}

/// What a function's configuration space holds.
pub(crate) fn hardware(function: &dyn Function) -> Vec<u8> {
    (0..function.config_size()).map(|offset| function.read_config(offset, 1) as u8).collect()
}

/// Writes back what a function's configuration space held: the header from its end, so that it decodes nothing before it has its
/// addresses.
pub(crate) fn restore(held: &[u8], function: &mut dyn Function) {
    for offset in (0..held.len()).rev().step_by(4) {
        let start = offset & !3;
        let word: [u8; 4] =
            held.get(start..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
        // Status bits would be cleared by what they hold.
        if start == COMMAND {
            function.write_config(start, 2, u32::from_le_bytes(word) & 0xffff);
        } else if start < 0x40 {
            function.write_config(start, 4, u32::from_le_bytes(word));
        }
    }
}

fn clear_bus_master(function: &mut dyn Function) {
    let command = function.read_config(COMMAND, 2);
    function.write_config(COMMAND, 2, command & !BUS_MASTER);
}
