//! A Xen of a few domains, a program's memory with mappings, and a bench that puts a driver between.

use ioctlab_abi::privcmd;
use ioctlab_chardev::{
    BadAddress, CallResult, Errno, FileId, MappingId, MmapRequest, Request, Stop, UserMemory, UserPtr,
};
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

/// Where the program's memory begins; below it and past its end every byte faults.
pub(crate) const BASE: u64 = 0x1_0000;
/// A pointer to nothing.
pub(crate) const BAD: u64 = 0x8;
/// Where mappings begin: so many pages apart, by their number.
pub(crate) const MAPPINGS: u64 = 0x10_0000_0000;

pub(crate) fn address(mapping: u64) -> u64 {
    MAPPINGS + mapping * 0x100_0000
}

/// A program's memory: one range, with faults to the byte; and mappings by number.
#[derive(Debug)]
pub(crate) struct Memory(pub(crate) Vec<u8>);

impl Memory {
    fn reach(&self, at: UserPtr, len: usize) -> (std::ops::Range<usize>, bool) {
        let Some(start) = at.0.checked_sub(BASE).map(|start| start as usize) else { return (0..0, false) };
        let start = start.min(self.0.len());
        let end = start.saturating_add(len).min(self.0.len());
        (start..end, end - start == len)
    }
}

impl UserMemory for Memory {
    fn read(&mut self, from: UserPtr, to: &mut [u8]) -> Result<(), BadAddress> {
        let (range, whole) = self.reach(from, to.len());
        if !whole {
            return Err(BadAddress);
        }
        to.copy_from_slice(&self.0[range]);
        Ok(())
    }

    fn write(&mut self, to: UserPtr, from: &[u8]) -> Result<(), BadAddress> {
        let (range, whole) = self.reach(to, from.len());
        let len = range.len();
        self.0[range].copy_from_slice(&from[..len]);
        if whole { Ok(()) } else { Err(BadAddress) }
    }

    fn mapping_from(&mut self, address: UserPtr) -> Option<MappingId> {
        address.0.checked_sub(MAPPINGS).map(|offset| MappingId(offset / 0x100_0000))
    }
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
        assert!(mapping.frames.is_empty() && !mapping.inherited && !mapping.read_only);
    }
}
