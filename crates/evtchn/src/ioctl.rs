//! The device's ioctls, each with its checks in Linux's order.

use crate::{Driver, Hypervisor, Port, driver::Control, events::Ownership};
use ioctlab_abi::evtchn::{self, half_word, pair, word};
use ioctlab_chardev::{CallResult, Errno, FileId, Request, UserMemory, UserPtr};

/// The first domain number that is not a domain's (`DOMID_FIRST_RESERVED`).
const FIRST_RESERVED_DOMAIN: u16 = 0x7ff0;
/// VIRQs are bound on this vcpu.
const VCPU: u32 = 0;

impl Driver {
    /// `ioctl(2)`. Returns the new port for the first three, else 0.
    ///
    /// | request | checks, in order |
    /// | --- | --- |
    /// | `BIND_VIRQ` | `EACCES` if restricted, `EFAULT`, the hypervisor's, then the port's set-up |
    /// | `BIND_INTERDOMAIN` | `EFAULT`, `EACCES` if restricted to another domain, the hypervisor's, set-up |
    /// | `BIND_UNBOUND_PORT` | `EACCES` if restricted, `EFAULT`, the hypervisor's, set-up |
    /// | `BIND_STATIC` | `EFAULT`, `EISCONN` if bound to this file, set-up |
    /// | `UNBIND` | `EFAULT`, `EINVAL` at or above the current channel count, `ENOTCONN` if not bound to this file |
    /// | `NOTIFY` | `EFAULT`, `ENOTCONN` if not bound to this file |
    /// | `RESET` | none; the argument is not looked at |
    /// | `RESTRICT_DOMID` | `EACCES` if restricted, `EFAULT`, `EINVAL` for 0 or `0x7ff0` and above |
    /// | any other | `ENOSYS` |
    ///
    /// Set-up: `ENOMEM` for want of memory or a port at or above [`Hypervisor::max_channels`], `EBUSY` for a port of the
    /// kernel's own, `EEXIST` if the hypervisor returned a port that this file has bound statically. A port that the
    /// hypervisor made for this call is closed again then.
    ///
    /// # Errors
    /// Those of the table; never [`Stop::Wait`](ioctlab_chardev::Stop::Wait).
    pub fn ioctl(
        &mut self,
        file: FileId,
        request: Request,
        argument: u64,
        memory: &mut dyn UserMemory,
        xen: &mut dyn Hypervisor,
    ) -> CallResult<i64> {
        self.control(file)?;
        let argument = UserPtr(argument);
        match request {
            evtchn::BIND_VIRQ => self.bind_virq(file, argument, memory, xen).map(value),
            evtchn::BIND_INTERDOMAIN => self.bind_interdomain(file, argument, memory, xen).map(value),
            evtchn::BIND_UNBOUND_PORT => self.bind_unbound_port(file, argument, memory, xen).map(value),
            evtchn::BIND_STATIC => self.bind_static(file, argument, memory, xen).map(|()| 0),
            evtchn::UNBIND => self.unbind(file, argument, memory, xen).map(|()| 0),
            evtchn::NOTIFY => self.notify(file, argument, memory, xen).map(|()| 0),
            evtchn::RESET => self.reset(file).map(|()| 0),
            evtchn::RESTRICT_DOMID => self.restrict(file, argument, memory).map(|()| 0),
            _ => Err(Errno::ENOSYS),
        }
        .map_err(Into::into)
    }

    fn bind_virq(
        &mut self,
        file: FileId,
        argument: UserPtr,
        memory: &mut dyn UserMemory,
        xen: &mut dyn Hypervisor,
    ) -> Result<Port, Errno> {
        self.check_unrestricted(file)?;
        let virq = word(memory.fetch(argument)?);
        let port = xen.bind_virq(virq, VCPU)?;
        self.bind_new(file, port, xen)
    }

    fn bind_interdomain(
        &mut self,
        file: FileId,
        argument: UserPtr,
        memory: &mut dyn UserMemory,
        xen: &mut dyn Hypervisor,
    ) -> Result<Port, Errno> {
        let (domain, remote_port) = pair(memory.fetch(argument)?);
        // The restriction is compared with all 32 bits; the hypervisor is given the lower 16.
        if self.control(file)?.restriction.is_some_and(|only| u32::from(only) != domain) {
            return Err(Errno::EACCES);
        }
        let port = xen.bind_interdomain(low_half(domain), remote_port)?;
        self.bind_new(file, port, xen)
    }

    fn bind_unbound_port(
        &mut self,
        file: FileId,
        argument: UserPtr,
        memory: &mut dyn UserMemory,
        xen: &mut dyn Hypervisor,
    ) -> Result<Port, Errno> {
        self.check_unrestricted(file)?;
        let domain = word(memory.fetch(argument)?);
        let port = xen.alloc_unbound(low_half(domain))?;
        self.bind_new(file, port, xen)
    }

    /// Not held up by a restriction: no domain is named.
    fn bind_static(
        &mut self,
        file: FileId,
        argument: UserPtr,
        memory: &mut dyn UserMemory,
        xen: &mut dyn Hypervisor,
    ) -> Result<(), Errno> {
        let port = Port(word(memory.fetch(argument)?));
        if self.control(file)?.bound.contains(port) {
            return Err(Errno::EISCONN);
        }
        self.bind(file, port, Ownership::Static, xen)
    }

    /// Leaves the ring alone: a number that is in it can still be read.
    fn unbind(
        &mut self,
        file: FileId,
        argument: UserPtr,
        memory: &mut dyn UserMemory,
        xen: &mut dyn Hypervisor,
    ) -> Result<(), Errno> {
        let port = Port(word(memory.fetch(argument)?));
        if port.0 >= self.delivery.channel_count(xen) {
            return Err(Errno::EINVAL);
        }
        self.control_mut(file)?.bound.remove(port).ok_or(Errno::ENOTCONN)?;
        self.delivery.detach(file, port, xen);
        Ok(())
    }

    fn notify(
        &mut self,
        file: FileId,
        argument: UserPtr,
        memory: &mut dyn UserMemory,
        xen: &mut dyn Hypervisor,
    ) -> Result<(), Errno> {
        let port = Port(word(memory.fetch(argument)?));
        if !self.control(file)?.bound.contains(port) {
            return Err(Errno::ENOTCONN);
        }
        // `notify_remote_via_evtchn` drops what the hypercall returns.
        let _ = xen.send(port);
        Ok(())
    }

    /// Ports delivered before stay disabled, though their numbers are no longer to be read.
    fn reset(&mut self, file: FileId) -> Result<(), Errno> {
        self.delivery.inbox_mut(file).ok_or(Errno::EBADF)?.reset();
        Ok(())
    }

    fn restrict(
        &mut self,
        file: FileId,
        argument: UserPtr,
        memory: &mut dyn UserMemory,
    ) -> Result<(), Errno> {
        self.check_unrestricted(file)?;
        let domain = half_word(memory.fetch(argument)?);
        if domain == 0 || domain >= FIRST_RESERVED_DOMAIN {
            return Err(Errno::EINVAL);
        }
        self.control_mut(file)?.restriction = Some(domain);
        Ok(())
    }

    /// Binds a port that the hypervisor has just made, or closes it again.
    fn bind_new(&mut self, file: FileId, port: Port, xen: &mut dyn Hypervisor) -> Result<Port, Errno> {
        match self.bind(file, port, Ownership::Owned, xen) {
            Ok(()) => Ok(port),
            Err(errno) => {
                xen.close(port);
                Err(errno)
            }
        }
    }

    /// Binds a port to a file (`evtchn_bind_to_user`). The ring grows before the port is looked at, and stays grown if that
    /// fails.
    fn bind(
        &mut self,
        file: FileId,
        port: Port,
        ownership: Ownership,
        xen: &mut dyn Hypervisor,
    ) -> Result<(), Errno> {
        let control = self.controls.get_mut(&file).ok_or(Errno::EBADF)?;
        if control.bound.contains(port) {
            return Err(Errno::EEXIST);
        }
        control.bound.reserve_one()?;
        let bound_ports = control.bound.len().saturating_add(1);
        let mut blocks = self.delivery.room(file, bound_ports).allocate()?;
        self.delivery.adopt(file, &mut blocks);
        // The old blocks, while nobody waits for the event part.
        drop(blocks);
        self.delivery.attach(file, port, ownership, xen)?;
        control.bound.insert(port, ());
        Ok(())
    }

    fn check_unrestricted(&self, file: FileId) -> Result<(), Errno> {
        match self.control(file)?.restriction {
            Some(_) => Err(Errno::EACCES),
            None => Ok(()),
        }
    }

    fn control(&self, file: FileId) -> Result<&Control, Errno> {
        self.controls.get(&file).ok_or(Errno::EBADF)
    }

    fn control_mut(&mut self, file: FileId) -> Result<&mut Control, Errno> {
        self.controls.get_mut(&file).ok_or(Errno::EBADF)
    }
}

fn value(port: Port) -> i64 {
    i64::from(port.0)
}

/// As C assigns to a `domid_t`.
fn low_half(domain: u32) -> u16 {
    let [low, high, ..] = domain.to_le_bytes();
    u16::from_le_bytes([low, high])
}
