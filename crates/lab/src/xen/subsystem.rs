//! What a Xen host looks like to the little kernel: each call goes to the driver of the caller's domain.

use ioctlab_abi::Errno;
use ioctlab_evtchn as evtchn;
use ioctlab_kernel::{
    Access, CallResult, FileId, Mapping, MappingId, MmapRequest, Opener, Pages, PollEvents, Reply, Request,
    Subsystem, UserMemory, UserPtr,
};
use ioctlab_privcmd::xenfs;
use ioctlab_xen::{DomainId, Virq};

use super::hypercalls::Caller;
use super::nodes::Device;
use super::{Opened, State, XenHost};
use crate::kernel_log;

/// A port in evtchn's stream, in bytes.
const PORT: usize = ioctlab_abi::evtchn::PORT_SIZE;

impl Subsystem for XenHost {
    fn open(&mut self, device: u32, file: FileId, access: Access, opener: Opener) -> Result<(), Errno> {
        let mut state = self.lock();
        let device = Device::from_number(device).ok_or(Errno::ENXIO)?;
        // A domain that the lab doesn't have has no kernel with these drivers in it.
        let kernel = state.kernels.get_mut(&opener.domain).ok_or(Errno::ENXIO)?;
        match device {
            Device::Evtchn => kernel.evtchn.open(file),
            Device::Gntdev => kernel.gntdev.open(file),
            Device::Gntalloc => kernel.gntalloc.open(file),
            Device::Privcmd => kernel.privcmd.open(file),
            Device::Xenbus => kernel.bus.open(file)?,
            Device::StorePort | Device::StorePage if opener.domain != 0 || kernel.store.is_none() => {
                return Err(Errno::ENOENT);
            }
            Device::StorePort | Device::StorePage | Device::Capabilities => {}
            Device::Kmsg => kernel_log::open(access)?,
        }
        state.files.insert(file, Opened { domain: opener.domain, device });
        Ok(())
    }

    fn release(&mut self, file: FileId) {
        let mut state = self.lock();
        let Some(Opened { domain, device }) = state.files.remove(&file) else { return };
        match device {
            Device::Evtchn => {
                state.with_evtchn(domain, |driver, guest| driver.release(file, guest));
            }
            Device::Gntdev => {
                state.with_grants(domain, |drivers, grants| drivers.gntdev.release(file, grants));
            }
            Device::Gntalloc => {
                state.with_grants(domain, |drivers, grants| drivers.gntalloc.release(file, grants));
            }
            Device::Privcmd => {
                if let Some(kernel) = state.kernels.get_mut(&domain) {
                    kernel.privcmd.release(file);
                }
            }
            Device::Xenbus => {
                if let Some(kernel) = state.kernels.get_mut(&domain) {
                    kernel.bus.release(file);
                }
                state.send_to_store(domain);
            }
            Device::Capabilities | Device::StorePort | Device::StorePage | Device::Kmsg => {}
        }
        state.settle();
    }

    fn read(
        &mut self,
        file: FileId,
        to: UserPtr,
        count: usize,
        memory: &mut dyn UserMemory,
    ) -> CallResult<usize> {
        let mut state = self.lock();
        let Opened { domain, device } = state.opened(file)?;
        let kernel = state.kernels.get_mut(&domain).ok_or(Errno::ENXIO)?;
        match device {
            Device::Evtchn => kernel.evtchn.read(file, to, count, memory),
            Device::Xenbus => kernel.bus.read(file, to, count, memory),
            _ => Err(Errno::EBADF.into()),
        }
    }

    fn write(
        &mut self,
        file: FileId,
        from: UserPtr,
        count: usize,
        memory: &mut dyn UserMemory,
    ) -> CallResult<usize> {
        let mut state = self.lock();
        let Opened { domain, device } = state.opened(file)?;
        let result = match device {
            Device::Evtchn => state
                .with_evtchn(domain, |driver, guest| driver.write(file, from, count, memory, guest))
                .ok_or(Errno::ENXIO)?,
            Device::Xenbus => {
                let kernel = state.kernels.get_mut(&domain).ok_or(Errno::ENXIO)?;
                let result = kernel.bus.write(file, from, count, memory);
                state.send_to_store(domain);
                result
            }
            Device::Kmsg => {
                let message = kernel_log::write(from, count, memory)?;
                if message.is_shown() && domain == 0 {
                    // Xen puts what domain 0 prints into its console ring; nobody need listen.
                    let _ = state.xen.raise_global_virq(Virq::CON_RING);
                }
                Ok(count)
            }
            _ => Err(Errno::EINVAL.into()),
        };
        state.settle();
        result
    }

    fn ioctl(
        &mut self,
        file: FileId,
        request: Request,
        argument: u64,
        memory: &mut dyn ioctlab_kernel::Caller,
    ) -> CallResult<Reply> {
        let mut state = self.lock();
        let Opened { domain, device } = state.opened(file)?;
        let result = match device {
            Device::Evtchn => state
                .with_evtchn(domain, |driver, guest| driver.ioctl(file, request, argument, memory, guest)),
            Device::Gntdev => state.with_grants(domain, |drivers, grants| {
                drivers.gntdev.ioctl(file, request, argument, memory, grants)
            }),
            Device::Gntalloc => state.with_grants(domain, |drivers, grants| {
                drivers.gntalloc.ioctl(file, request, argument, memory, grants)
            }),
            Device::Privcmd => {
                let State { xen, kernels, domains, .. } = &mut *state;
                let caller = Caller { xen, domain: DomainId(domain), domains };
                kernels
                    .get_mut(&domain)
                    .map(|kernel| kernel.privcmd.ioctl(file, request, argument, memory, &caller))
            }
            Device::Xenbus => {
                state.kernels.get_mut(&domain).map(|kernel| kernel.bus.ioctl(file, request, argument, memory))
            }
            Device::Capabilities | Device::StorePort | Device::StorePage | Device::Kmsg => {
                Some(Err(Errno::ENOTTY.into()))
            }
        };
        state.settle();
        result.ok_or(Errno::ENXIO)?.map(Reply::Value)
    }

    fn mmap(&mut self, file: FileId, request: &MmapRequest) -> Result<Mapping, Errno> {
        let mut state = self.lock();
        let opened = state.opened(file)?;
        let mapped = match opened.device {
            Device::Gntdev => {
                state.with_grants(opened.domain, |drivers, grants| drivers.gntdev.mmap(file, request, grants))
            }
            Device::Gntalloc => {
                state.with_grants(opened.domain, |drivers, _| drivers.gntalloc.mmap(file, request))
            }
            Device::Privcmd => {
                state.kernels.get_mut(&opened.domain).map(|kernel| kernel.privcmd.mmap(file, *request))
            }
            Device::StorePage => {
                // A page's worth from the start, which is all there is; a copy of it would be of no use to anybody.
                let page = state.kernels.get(&opened.domain).and_then(|kernel| kernel.store);
                let fits = request.page == 0 && request.pages == 1 && (request.shared || !request.writable);
                page.filter(|_| fits).map(|store| {
                    Ok(Mapping { pages: Pages::Frames(vec![store.page]), read_only: false, inherited: true })
                })
            }
            Device::Evtchn | Device::Xenbus | Device::Capabilities | Device::StorePort | Device::Kmsg => {
                Some(Err(Errno::ENODEV))
            }
        };
        state.settle();
        let mapping = mapped.ok_or(Errno::EINVAL)??;
        state.mappings.insert(request.mapping, opened);
        Ok(mapping)
    }

    fn zap(&mut self, mapping: MappingId, first: u64, pages: u64) {
        let mut state = self.lock();
        if let Some(Opened { domain, device: Device::Gntdev }) = state.mappings.get(&mapping).copied() {
            state.with_grants(domain, |drivers, grants| drivers.gntdev.zap(mapping, first, pages, grants));
            state.settle();
        }
    }

    fn unmapped(&mut self, mapping: MappingId) {
        let mut state = self.lock();
        let Some(Opened { domain, device }) = state.mappings.remove(&mapping) else { return };
        match device {
            Device::Gntdev => {
                state.with_grants(domain, |drivers, grants| drivers.gntdev.unmapped(mapping, grants));
            }
            Device::Gntalloc => {
                state.with_grants(domain, |drivers, grants| drivers.gntalloc.unmapped(mapping, grants));
            }
            Device::Privcmd => {
                if let Some(kernel) = state.kernels.get_mut(&domain) {
                    kernel.privcmd.unmap(mapping);
                }
            }
            _ => {}
        }
        state.settle();
    }

    fn changed_by_unmapping(&self) -> Vec<(MappingId, Option<u64>)> {
        let mut changed = Vec::new();
        for kernel in self.lock().kernels.values() {
            let by_page = kernel.gntdev.changed_by_unmapping();
            changed.extend(by_page.into_iter().map(|(mapping, page)| (mapping, Some(page))));
            changed.extend(kernel.gntalloc.changed_by_unmapping().into_iter().map(|mapping| (mapping, None)));
        }
        changed
    }

    fn change_ahead(&mut self, mapping: MappingId) {
        let mut state = self.lock();
        if let Some(Opened { domain, device: Device::Gntdev }) = state.mappings.get(&mapping).copied() {
            state.with_grants(domain, |drivers, grants| drivers.gntdev.clear_ahead(mapping, grants));
        }
    }

    fn contents(&self, file: FileId) -> Option<Vec<u8>> {
        let state = self.lock();
        let Opened { domain, device } = *state.files.get(&file)?;
        match device {
            Device::Capabilities => Some(xenfs::capabilities(domain == 0).to_vec()),
            Device::StorePort => Some(xenfs::xsd_port(state.kernels.get(&domain)?.store?.port.0)),
            _ => None,
        }
    }

    fn has_deferred(&self) -> bool {
        let state = self.lock();
        state.kernels.keys().any(|domain| state.xen.deferred(DomainId(*domain)) > 0)
    }

    fn retry_deferred(&mut self) {
        let mut state = self.lock();
        let State { xen, kernels, .. } = &mut *state;
        for domain in kernels.keys() {
            xen.retry_deferred(DomainId(*domain));
        }
        state.settle();
    }

    fn poll(&self, file: FileId) -> PollEvents {
        let state = self.lock();
        match state.kernel(file) {
            Some((kernel, Device::Evtchn)) => kernel.evtchn.poll(file),
            Some((kernel, Device::Xenbus)) => kernel.bus.poll(file),
            Some(_) => PollEvents::IN | PollEvents::OUT | PollEvents::RDNORM | PollEvents::WRNORM,
            None => PollEvents::default(),
        }
    }

    fn unread(&self, file: FileId) -> usize {
        match self.lock().kernel(file) {
            Some((kernel, Device::Evtchn)) => kernel.evtchn.unread(file) * PORT,
            Some((kernel, Device::Xenbus)) => kernel.bus.unread(file),
            _ => 0,
        }
    }

    fn would_read(&self, file: FileId, count: usize) -> usize {
        match self.lock().kernel(file) {
            Some((kernel, Device::Evtchn)) if !kernel.evtchn.is_overflowed(file) => {
                (count.min(evtchn::MAX_TRANSFER) / PORT).min(kernel.evtchn.unread(file)) * PORT
            }
            Some((kernel, Device::Xenbus)) => kernel.bus.would_read(file, count),
            _ => 0,
        }
    }

    fn peek(&self, file: FileId, to: &mut [u8]) -> usize {
        match self.lock().kernel(file) {
            Some((kernel, Device::Evtchn)) => kernel.evtchn.peek(file, 0, to),
            Some((kernel, Device::Xenbus)) => kernel.bus.peek(file, to),
            _ => 0,
        }
    }

    fn consume(&mut self, file: FileId, bytes: usize) {
        let mut state = self.lock();
        let Ok(Opened { domain, device }) = state.opened(file) else { return };
        let Some(kernel) = state.kernels.get_mut(&domain) else { return };
        match device {
            Device::Evtchn => kernel.evtchn.consume(file, bytes / PORT),
            Device::Xenbus => kernel.bus.consume(file, bytes),
            _ => {}
        }
    }

    fn next_changed(&mut self) -> Option<FileId> {
        let mut state = self.lock();
        state
            .kernels
            .values_mut()
            .find_map(|kernel| kernel.evtchn.next_growth().or_else(|| kernel.bus.next_growth()))
    }
}
