//! The function's power state, and whether its memory can be reached.

use crate::Function;
use crate::device::Open;
use crate::hardware::{self, COMMAND, COMMAND_MEMORY, SavedState};

/// In the power management capability: which states there are, and the control register.
const PM_CAPABLE: u16 = 2;
const PM_CONTROL: u16 = 4;
const PM_NO_SOFT_RESET: u16 = 1 << 3;
/// The state in which the function decodes nothing.
const D3HOT: u8 = 3;

impl Open {
    /// Sets the power state, 0 to 3 (`vfio_pci_set_power_state`). A function that resets itself on its way back is restored.
    pub(crate) fn set_power_state(&mut self, function: &mut dyn Function, state: u8) {
        let Some(at) = self.pm_at else { return };
        let capable = function.word(at.saturating_add(PM_CAPABLE));
        let is_there = match state {
            1 => capable & 1 << 9 != 0,
            2 => capable & 1 << 10 != 0,
            _ => true,
        };
        // Down from anywhere, up only to D0.
        if !is_there || state == self.power_state || state != 0 && state < self.power_state {
            return;
        }
        let control_at = at.saturating_add(PM_CONTROL);
        let control = function.word(control_at);
        let loses_state = control & PM_NO_SOFT_RESET == 0;
        let (from, saved) =
            (self.power_state, (loses_state && state == D3HOT).then(|| SavedState::of(function)));
        function.set_word(control_at, control & !3 | u16::from(state));
        self.power_state = function.word(control_at) as u8 & 3;
        if saved.is_some() && self.power_state == D3HOT {
            self.state_before_d3 = saved;
        } else if loses_state
            && from == D3HOT
            && let Some(saved) = self.state_before_d3.take()
        {
            // From D3hot there is no way but to D0.
            saved.restore(function);
        }
        self.note_reachable(function);
    }

    /// Resets the function alone, from D0: a reset leaves it there, and what is restored then is that state's.
    pub(crate) fn reset_awake(&mut self, function: &mut dyn Function) {
        self.set_power_state(function, 0);
        hardware::reset(function);
    }

    /// Whether the function decodes memory, as far as the program has it (`__vfio_pci_memory_enabled`).
    pub(crate) fn memory_is_enabled(&self) -> bool {
        let enabled = self.is_virtual || self.config.word(COMMAND) & COMMAND_MEMORY != 0;
        enabled && self.power_state < D3HOT
    }

    /// Says whether mappings reach memory, if that has changed.
    pub(crate) fn note_reachable(&mut self, function: &mut dyn Function) {
        let reachable = self.memory_is_enabled() && self.low_power.is_none();
        if self.reachable != Some(reachable) {
            self.reachable = Some(reachable);
            function.set_reachable(reachable);
        }
    }
}
