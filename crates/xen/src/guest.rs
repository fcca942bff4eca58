//! The event bits that Xen shares with a guest, as the guest's kernel works on them.
//!
//! In Xen these are bits in the guest's memory, and only [`Hypervisor::unmask`] is a call. Here a free port has no bits,
//! and touching them is refused.

use crate::channel::Channel;
use crate::upcalls::Upcalls;
use crate::{DomainId, Hypervisor, Port, Refused};

/// How [`Hypervisor::take`] leaves the masked bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterTake {
    /// As it was.
    AsBefore,
    /// Masked, until the guest unmasks it at its end of interrupt.
    Masked,
}

/// A port's event bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventBits {
    /// An event was raised and not yet taken.
    pub pending: bool,
    /// Events aren't delivered.
    pub masked: bool,
}

impl Hypervisor {
    /// Takes a port's event, as a guest does on an upcall: clears pending and, if told so, masks the port, in one step.
    /// Returns whether there was an event. Of what is raised from now on, nothing is lost.
    ///
    /// # Errors
    /// [`Refused::NoSuchDomain`], [`Refused::NoSuchPort`], [`Refused::PortFree`], [`Refused::XenPort`].
    pub fn take(&mut self, caller: DomainId, port: Port, then: AfterTake) -> Result<bool, Refused> {
        let (channel, upcalls) = self.event_bits_mut(caller, port)?;
        if then == AfterTake::Masked {
            channel.mask(upcalls);
        }
        Ok(channel.clear_pending(upcalls))
    }

    /// Masks a port. An event that is pending, or raised later, waits until it is unmasked.
    ///
    /// # Errors
    /// As [`Hypervisor::take`].
    pub fn mask(&mut self, caller: DomainId, port: Port) -> Result<(), Refused> {
        let (channel, upcalls) = self.event_bits_mut(caller, port)?;
        channel.mask(upcalls);
        Ok(())
    }

    /// Unmasks a port, and queues an upcall if it is pending (`EVTCHNOP_unmask`). A free port, or Xen's own, is left alone.
    ///
    /// # Errors
    /// [`Refused::NoSuchDomain`], [`Refused::NoSuchPort`].
    pub fn unmask(&mut self, caller: DomainId, port: Port) -> Result<(), Refused> {
        match self.event_bits_mut(caller, port) {
            Ok((channel, upcalls)) => {
                channel.unmask((caller, port), upcalls);
                Ok(())
            }
            Err(Refused::PortFree | Refused::XenPort) => Ok(()),
            Err(refused) => Err(refused),
        }
    }

    /// Forgets a port's event, if there is one; returns whether there was.
    ///
    /// # Errors
    /// As [`Hypervisor::take`].
    pub fn clear_pending(&mut self, caller: DomainId, port: Port) -> Result<bool, Refused> {
        self.take(caller, port, AfterTake::AsBefore)
    }

    /// A port's event bits.
    ///
    /// # Errors
    /// As [`Hypervisor::take`].
    pub fn event_bits(&self, caller: DomainId, port: Port) -> Result<EventBits, Refused> {
        let channel = self.domain(caller)?.ports.get(port)?;
        if channel.is_xens() {
            return Err(Refused::XenPort);
        }
        Ok(EventBits { pending: channel.is_pending(), masked: channel.is_masked() })
    }

    fn event_bits_mut(&mut self, id: DomainId, port: Port) -> Result<(&mut Channel, &mut Upcalls), Refused> {
        let domain = self.domains.get_mut(&id).ok_or(Refused::NoSuchDomain)?;
        let channel = domain.ports.get_mut(port)?;
        if channel.is_xens() {
            return Err(Refused::XenPort);
        }
        Ok((channel, &mut self.upcalls))
    }
}
