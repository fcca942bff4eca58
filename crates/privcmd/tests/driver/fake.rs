//! A Xen of a few domains, and a bench that puts a driver between it and a program.

use crate::memory::{APART, MAPPINGS, Memory};
pub(crate) use crate::memory::{BAD, BASE};
use ioctlab_abi::privcmd;
use ioctlab_chardev::{CallResult, Errno, FileId, MappingId, MmapRequest, Request, Stop};
use ioctlab_privcmd::{DomainInfo, Driver, Hypercalls, PortState, PortStatus};

/// Domains 0, 3 and 7, of which the last is an HVM guest. The caller is 0 or 3.
#[derive(Debug)]
pub(crate) struct FakeXen {
    pub(crate) caller: u16,
}

pub(crate) fn info(domain: u16) -> DomainInfo {
    DomainInfo {
        domain,
        flags: DomainInfo::RUNNING | if domain == 7 { DomainInfo::HVM } else { 0 },
        pages: 0x1_0000 + u64::from(domain),
        max_pages: 0x2_0000,
        shared_info_frame: 0x55,
        cpu_time: 1 << 40,
        online_vcpus: 2,
        max_vcpu: 1,
        handle: [domain as u8 + 1; 16],
        address_bits: 39,
    }
}

impl Hypercalls for FakeXen {
    fn caller(&self) -> u16 {
        self.caller
    }

    fn is_privileged(&self) -> bool {
        self.caller == 0
    }

    fn domain_from(&self, first: u16) -> Option<DomainInfo> {
        [0, 3, 7].into_iter().find(|domain| *domain >= first).map(info)
    }

    fn port_status(&self, domain: u16, port: u32) -> Result<PortStatus, Errno> {
        let states = [
            PortState::Closed,
            PortState::Unbound { remote: 9 },
            PortState::Interdomain { remote: 3, port: 0x1_0002 },
            PortState::Pirq(14),
            PortState::Virq(3),
            PortState::Ipi,
        ];
        if domain != 0x7ff0 {
            return Err(Errno::ESRCH);
        }
        let state = *states.get(port as usize).ok_or(Errno::EINVAL)?;
        Ok(PortStatus { state, vcpu: port + 1 })
    }

    fn hvm_param(&self, domain: u16, index: u32) -> Option<u64> {
        (domain == 7).then(|| 0x1_0000_0000 + u64::from(index))
    }
}

pub(crate) fn address(mapping: u64) -> u64 {
    MAPPINGS + mapping * APART
}

pub(crate) const F: FileId = FileId(1);

pub(crate) fn failed<T>(errno: Errno) -> CallResult<T> {
    Err(Stop::Fail(errno))
}

#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) driver: Driver,
    pub(crate) xen: FakeXen,
    pub(crate) memory: Memory,
}

impl Bench {
    /// A bench with file 1 open.
    pub(crate) fn new(caller: u16) -> Self {
        let mut driver = Driver::new();
        driver.open(F);
        Self { driver, xen: FakeXen { caller }, memory: Memory(vec![0; 2 * 4096]) }
    }

    pub(crate) fn ioctl_at(&mut self, request: Request, argument: u64) -> CallResult<i64> {
        self.driver.ioctl(F, request, argument, &mut self.memory, &self.xen)
    }

    /// An ioctl whose argument, given in parts, lies at the beginning of good memory.
    pub(crate) fn ioctl(&mut self, request: Request, parts: &[&[u8]]) -> CallResult<i64> {
        self.put(0, &parts.concat());
        self.ioctl_at(request, BASE)
    }

    /// Puts bytes into the program's memory; their address.
    pub(crate) fn put(&mut self, offset: usize, bytes: &[u8]) -> u64 {
        self.memory.0[offset..offset + bytes.len()].copy_from_slice(bytes);
        BASE + offset as u64
    }

    pub(crate) fn end(&self) -> u64 {
        BASE + self.memory.0.len() as u64
    }

    pub(crate) fn hypercall(&mut self, op: u64, arguments: &[u64]) -> CallResult<i64> {
        let mut words = [0; 6];
        words[0] = op;
        words[1..1 + arguments.len()].copy_from_slice(arguments);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        self.ioctl(privcmd::HYPERCALL, &[&bytes])
    }

    pub(crate) fn restrict(&mut self, domain: u16) -> CallResult<i64> {
        self.ioctl(privcmd::RESTRICT, &[&domain.to_ne_bytes()])
    }

    pub(crate) fn mmap(&mut self, mapping: u64, pages: u64) {
        let request =
            MmapRequest { mapping: MappingId(mapping), page: 0, pages, shared: true, writable: true };
        let mapping = self.driver.mmap(F, request).unwrap();
        assert!(mapping.frames().is_empty() && !mapping.inherited && !mapping.read_only);
    }
}
