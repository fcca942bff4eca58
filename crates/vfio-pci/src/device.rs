//! The device: its state, and how it is opened and closed.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use ioctlab_chardev::{Errno, Event, EventId};

use crate::config::Config;
use crate::hardware::{
    self, CAP_EXPRESS, CAP_MSI, CAP_MSIX, CAP_PM, COMMAND, COMMAND_INTX_DISABLE, COMMAND_IO, COMMAND_MEMORY,
    DEVICE_ID, MSIX_FLAGS, MSIX_FLAGS_QSIZE, MSIX_TABLE, SavedState, VENDOR_ID,
};
use crate::ioeventfd::IoEvent;
use crate::irqs::Irq;
use crate::token::Token;
use crate::{BarKind, BarWrite, Function};

/// What a function is in SR-IOV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing.
    Plain,
    /// A physical function, which can have virtual ones.
    Physical {
        /// The token that its users share until another is set; Linux takes a random one.
        token: [u8; 16],
    },
    /// A virtual function. Its own registers don't say whose it is.
    Virtual {
        /// The physical function's vendor.
        vendor: u16,
        /// The device id of its virtual functions.
        device: u16,
    },
}

/// What a device sends to the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// Its INTx is asserted now.
    Intx,
    /// A message of MSI, by its vector.
    Msi(u32),
    /// A message of MSI-X, by its vector.
    Msix(u32),
}

/// The MSI-X table: in which BAR, and where there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MsixTable {
    pub(crate) bar: usize,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// A PCI device that is bound to vfio-pci.
#[derive(Debug)]
pub struct Device {
    pub(crate) role: Role,
    /// A physical function's.
    pub(crate) token: Option<Token>,
    pub(crate) open: Option<Open>,
    /// What is left to be done from when it was open.
    events: VecDeque<Event>,
    msi_qmax: u16,
    needs_reset: bool,
}

/// What there is while the device is open.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) config: Config,
    saved: SavedState,
    pub(crate) is_virtual: bool,
    pub(crate) reset_works: bool,
    /// INTx of this device is broken, and hidden.
    pub(crate) hides_intx: bool,
    /// The command register can stop INTx (`pci_2_3`).
    pub(crate) can_mask_intx: bool,
    pub(crate) is_express: bool,
    pub(crate) pm_at: Option<u16>,
    pub(crate) msi_at: Option<u16>,
    pub(crate) msix_at: Option<u16>,
    pub(crate) msix_table: Option<MsixTable>,
    pub(crate) irq: Irq,
    /// The program has set the command register's INTx disable.
    pub(crate) intx_disabled: bool,
    /// The most MSI vectors that were enabled, as the logarithm to base 2.
    pub(crate) msi_qmax: u16,
    pub(crate) error: Option<EventId>,
    pub(crate) request: Option<EventId>,
    pub(crate) ioeventfds: Vec<IoEvent>,
    /// 0 to 3.
    pub(crate) power_state: u8,
    pub(crate) state_before_d3: Option<SavedState>,
    /// The low-power feature, and whom to tell of its end.
    pub(crate) low_power: Option<Option<EventId>>,
    pub(crate) reachable: Option<bool>,
    pub(crate) events: VecDeque<Event>,
}

impl Device {
    /// A device that nobody has open.
    pub fn new(role: Role) -> Self {
        let token = match role {
            Role::Physical { token } => Some(Token::new(token)),
            Role::Plain | Role::Virtual { .. } => None,
        };
        Self { role, token, open: None, events: VecDeque::new(), msi_qmax: 0, needs_reset: false }
    }

    /// The device's first file is opened (`vfio_pci_core_enable`): no DMA, a reset if there is one, and a new virtual
    /// configuration space. Of no effect if it is open.
    pub fn open(&mut self, function: &mut dyn Function) {
        if self.open.is_some() {
            return;
        }
        function.clear_master();
        enable(function);
        let reset_works = function.can_reset();
        if reset_works {
            hardware::reset(function);
        }
        let saved = SavedState::of(function);
        let hides_intx = has_broken_intx(function);
        if hides_intx {
            function.let_intx(false);
        }
        let can_mask_intx = !hides_intx && function.can_mask_intx();
        if can_mask_intx {
            function.let_intx(true);
        }
        let config = Config::new(function, &self.role, hides_intx);
        let mut open = Open {
            config,
            saved,
            is_virtual: matches!(self.role, Role::Virtual { .. }),
            reset_works,
            hides_intx,
            can_mask_intx,
            is_express: function.find_capability(CAP_EXPRESS).is_some(),
            pm_at: function.find_capability(CAP_PM),
            msi_at: function.find_capability(CAP_MSI),
            msix_at: function.find_capability(CAP_MSIX),
            msix_table: find_msix_table(function),
            irq: Irq::None,
            intx_disabled: false,
            msi_qmax: self.msi_qmax,
            error: None,
            request: None,
            ioeventfds: Vec::new(),
            power_state: 0,
            state_before_d3: None,
            low_power: None,
            reachable: None,
            events: VecDeque::new(),
        };
        open.note_reachable(function);
        self.open = Some(open);
    }

    /// The device's last file is gone (`vfio_pci_core_disable`): interrupts are disabled, eventfds let go, the function is reset
    /// if it can be, and has the registers that it had as it was opened. Of no effect if it isn't open.
    pub fn close(&mut self, function: &mut dyn Function) {
        let Some(mut open) = self.open.take() else { return };
        if let Some(Some(event)) = open.low_power.take() {
            open.events.push_back(Event::LetGo(event));
        }
        open.set_power_state(function, 0);
        function.clear_master();
        open.disable_irqs(function);
        let ioeventfds = open.ioeventfds.iter().map(|io| Event::LetGo(io.event));
        open.events.extend(ioeventfds);
        function.set_word(COMMAND, COMMAND_INTX_DISABLE);
        if open.reset_works {
            function.reset();
        }
        open.saved.restore(function);
        function.clear_master();
        if open.reachable != Some(false) {
            function.set_reachable(false);
        }
        open.events.extend(open.error.into_iter().chain(open.request).map(Event::LetGo));
        self.msi_qmax = open.msi_qmax;
        self.needs_reset = !open.reset_works;
        self.events.append(&mut open.events);
    }

    /// Whether it is open.
    pub const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether it was closed without a reset, and hasn't been reset with its bus or slot since. The layer above resets these
    /// when nobody uses any of their devices, and all are bound to vfio-pci (`vfio_pci_dev_set_try_reset`).
    pub const fn needs_reset(&self) -> bool {
        self.needs_reset
    }

    /// Resets the function, and restores its registers, open or not: as part of a reset of its bus or slot.
    pub fn reset(&mut self, function: &mut dyn Function) {
        self.needs_reset = false;
        match &mut self.open {
            Some(open) => open.reset_awake(function),
            None => hardware::reset(function),
        }
    }

    /// The device asserts INTx, or has sent a message.
    pub fn interrupt(&mut self, interrupt: Interrupt, function: &mut dyn Function) {
        let Some(open) = &mut self.open else { return };
        match interrupt {
            Interrupt::Intx => open.handle_intx(function),
            Interrupt::Msi(vector) => open.handle_message(crate::Messages::Msi, vector),
            Interrupt::Msix(vector) => open.handle_message(crate::Messages::Msix, vector),
        }
    }

    /// An eventfd that is watched was signalled, and its count taken. If it is an ioeventfd's, the write that is to be done.
    pub fn signalled(&mut self, event: EventId, function: &mut dyn Function) -> Option<BarWrite> {
        let open = self.open.as_mut()?;
        if open.unmask_event() == Some(event) {
            open.unmask_intx(function);
            return None;
        }
        open.write_of(event, function)
    }

    /// The device is wanted back: the program is told, if it wants to know, each time.
    pub fn request(&mut self, count: u32) {
        let _ = count;
        if let Some(open) = &mut self.open {
            open.events.extend(open.request.map(Event::Signal));
        }
    }

    /// The device, or the bus, has reported an error (`error_detected`).
    pub fn error(&mut self) {
        if let Some(open) = &mut self.open {
            open.events.extend(open.error.map(Event::Signal));
        }
    }

    /// The next thing to be done with an eventfd, in the order in which it came about.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front().or_else(|| self.open.as_mut()?.events.pop_front())
    }

    /// The state of an open device. The core calls for none that isn't.
    pub(crate) fn opened(&mut self) -> Result<&mut Open, Errno> {
        self.open.as_mut().ok_or(Errno::EINVAL)
    }
}

/// Has the function decode what it has BARs for (`pci_enable_device`).
fn enable(function: &mut dyn Function) {
    let mut command = function.command();
    for bar in (0..6).filter_map(|index| function.bar(index)).filter(|bar| bar.address != 0) {
        command |= match bar.kind {
            BarKind::Io => COMMAND_IO,
            BarKind::Memory { .. } => COMMAND_MEMORY,
        };
    }
    if function.byte(hardware::INTERRUPT_PIN) != 0 {
        command &= !COMMAND_INTX_DISABLE;
    }
    function.set_command(command);
}

/// Intel's 10 to 40 Gb/s adapters that don't say when they assert INTx (`vfio_pci_nointx`).
fn has_broken_intx(function: &mut dyn Function) -> bool {
    let device = function.word(DEVICE_ID);
    let is_one = matches!(
        device,
        0x1572 | 0x1574 | 0x1580..=0x1581 | 0x1583..=0x158b | 0x37d0..=0x37d2 | 0x1563
    );
    is_one && function.word(VENDOR_ID) == 0x8086
}

fn find_msix_table(function: &mut dyn Function) -> Option<MsixTable> {
    let at = function.find_capability(CAP_MSIX)?;
    let vectors =
        u64::from(function.word(at.saturating_add(MSIX_FLAGS)) & MSIX_FLAGS_QSIZE).saturating_add(1);
    let table = function.dword(at.saturating_add(MSIX_TABLE));
    let start = u64::from(table & !7);
    let end = start.saturating_add(vectors.saturating_mul(16));
    Some(MsixTable { bar: (table & 7) as usize, start, end })
}
