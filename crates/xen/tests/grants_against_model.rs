//! Random sequences of calls about pages and grants over several domains, on the hypervisor and on a naive model of it:
//! every result, every entry, whose each page is, what is freed, and all bytes must agree.
//!
//! A failure prints the shortest sequence found that shows it, and its seed goes to `tests/grants_against_model.regressions`,
//! which is tried first from then on (check it in). `PROPTEST_CASES=20000` looks harder.

mod grant_model;

use grant_model::{Model, PAGES};
use ioctlab_xen::{
    CopyEnd, DomainId, DomainParams, Grant, GrantAccess, GrantHandle, GrantRef, GrantTarget, GrantVersion,
    Hypervisor, MachineMemory, Mfn,
};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::FileFailurePersistence;

/// A number to name, or one of those in use when the call is made.
#[derive(Clone, Debug)]
enum Pick {
    Number(u32),
    InUse(Index),
}

#[derive(Clone, Debug)]
enum End {
    Grant(u16, Pick, u16),
    Page(u16, u64, u16),
}

#[derive(Clone, Debug)]
enum Call {
    SetMachinePages(usize),
    Create(u16, Box<DomainParams>),
    BeginDying(u16),
    Destroy(u16),
    Allocate(u16, usize),
    Release(u16, u64),
    NextFreed,
    Grant(u16, u16, u64, GrantAccess),
    GrantMany(u16, u16, u64),
    /// Allocates a page, and grants it to a domain, which maps it: what clients do.
    Share(u16, u16, GrantAccess, GrantAccess),
    /// Allocates a page, and grants it to a domain, which grants it to a third.
    Relay(u16, u16, u16, GrantAccess),
    SubPage(u16, u16, u64, GrantAccess, u16, u16),
    Transitive(u16, u16, GrantAccess, u16, Pick),
    GrantAt(u16, u32, u16, u64, GrantAccess),
    End(u16, Pick, Option<u64>),
    Retry(u16),
    SetVersion(u16, GrantVersion),
    Map(u16, u16, Pick, GrantAccess),
    /// By whom it is granted to, this many times.
    MapAsMeant(u16, Pick, GrantAccess, usize),
    Unmap(u16, Pick),
    Copy(u16, End, End, u16),
    Read(u16, u16, Pick, u16, usize),
    Write(u16, u16, Pick, u16, Vec<u8>),
    /// By whom it is granted to: all of the page, to the byte if there is one.
    CopyAsMeant(u16, Pick, Option<u8>),
    Size(u16, u16),
}

fn domain() -> impl Strategy<Value = u16> {
    prop_oneof![30 => 0u16..4, 2 => Just(0x7ff0), 1 => Just(4), 1 => any::<u16>()]
}

fn caller() -> impl Strategy<Value = u16> {
    prop_oneof![40 => 0u16..4, 1 => Just(4), 1 => Just(0x7ff0)]
}

fn access() -> impl Strategy<Value = GrantAccess> {
    prop_oneof![2 => Just(GrantAccess::ReadWrite), 1 => Just(GrantAccess::ReadOnly)]
}

fn version() -> impl Strategy<Value = GrantVersion> {
    prop_oneof![Just(GrantVersion::V1), Just(GrantVersion::V2)]
}

fn page() -> impl Strategy<Value = u64> {
    prop_oneof![20 => 0..PAGES as u64, 1 => 0..1u64 << 32]
}

fn pick() -> impl Strategy<Value = Pick> {
    prop_oneof![
        12 => any::<Index>().prop_map(Pick::InUse),
        2 => (0u32..12).prop_map(Pick::Number),
        1 => prop::sample::select(vec![255, 256, 511, 512, 1023, 1024, u32::MAX]).prop_map(Pick::Number),
    ]
}

fn offset() -> impl Strategy<Value = u16> {
    prop_oneof![4 => 0u16..40, 1 => 4080u16..4100, 1 => any::<u16>()]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        4 => (domain(), pick(), offset()).prop_map(|(a, b, c)| End::Grant(a, b, c)),
        1 => (Just(0x7ff0), page(), offset()).prop_map(|(a, b, c)| End::Page(a, b, c)),
        1 => (domain(), page(), offset()).prop_map(|(a, b, c)| End::Page(a, b, c)),
    ]
}

fn params() -> impl Strategy<Value = DomainParams> {
    let frames = prop_oneof![10 => 1u32..3, 1 => Just(0)];
    (any::<bool>(), frames, 0u32..3, version()).prop_map(
        |(privileged, max_grant_frames, max_maptrack_frames, grant_version)| DomainParams {
            privileged,
            max_grant_frames,
            max_maptrack_frames,
            grant_version,
            ..DomainParams::bare()
        },
    )
}

fn call() -> impl Strategy<Value = Call> {
    let bytes = prop::collection::vec(any::<u8>(), 0..40);
    let times = prop_oneof![8 => Just(1usize), 1 => 100usize..140];
    prop_oneof![
        1 => (0..=PAGES).prop_map(Call::SetMachinePages),
        4 => (domain(), params()).prop_map(|(a, b)| Call::Create(a, Box::new(b))),
        1 => caller().prop_map(Call::BeginDying),
        3 => caller().prop_map(Call::Destroy),
        5 => (caller(), 0usize..5).prop_map(|(a, b)| Call::Allocate(a, b)),
        4 => (caller(), page()).prop_map(|(a, b)| Call::Release(a, b)),
        6 => Just(Call::NextFreed),
        6 => (caller(), domain(), page(), access()).prop_map(|(a, b, c, d)| Call::Grant(a, b, c, d)),
        1 => (caller(), domain(), page()).prop_map(|(a, b, c)| Call::GrantMany(a, b, c)),
        10 => (caller(), caller(), access(), access()).prop_map(|(a, b, c, d)| Call::Share(a, b, c, d)),
        4 => (caller(), caller(), caller(), access()).prop_map(|(a, b, c, d)| Call::Relay(a, b, c, d)),
        3 => (caller(), domain(), page(), access(), offset(), offset())
            .prop_map(|(a, b, c, d, e, f)| Call::SubPage(a, b, c, d, e, f)),
        4 => (caller(), domain(), access(), domain(), pick())
            .prop_map(|(a, b, c, d, e)| Call::Transitive(a, b, c, d, e)),
        4 => (caller(), 0u32..9, domain(), page(), access())
            .prop_map(|(a, b, c, d, e)| Call::GrantAt(a, b, c, d, e)),
        8 => (caller(), pick(), prop::option::of(page())).prop_map(|(a, b, c)| Call::End(a, b, c)),
        4 => caller().prop_map(Call::Retry),
        2 => (caller(), version()).prop_map(|(a, b)| Call::SetVersion(a, b)),
        6 => (caller(), domain(), pick(), access()).prop_map(|(a, b, c, d)| Call::Map(a, b, c, d)),
        10 => (caller(), pick(), access(), times).prop_map(|(a, b, c, d)| Call::MapAsMeant(a, b, c, d)),
        10 => (caller(), pick()).prop_map(|(a, b)| Call::Unmap(a, b)),
        8 => (caller(), end(), end(), offset()).prop_map(|(a, b, c, d)| Call::Copy(a, b, c, d)),
        5 => (caller(), domain(), pick(), offset(), 0usize..40)
            .prop_map(|(a, b, c, d, e)| Call::Read(a, b, c, d, e)),
        6 => (caller(), domain(), pick(), offset(), bytes)
            .prop_map(|(a, b, c, d, e)| Call::Write(a, b, c, d, e)),
        10 => (caller(), pick(), any::<Option<u8>>()).prop_map(|(a, b, c)| Call::CopyAsMeant(a, b, c)),
        1 => (caller(), domain()).prop_map(|(a, b)| Call::Size(a, b)),
    ]
}

struct Bytes(Vec<Vec<u8>>);

impl MachineMemory for Bytes {
    fn read(&mut self, mfn: Mfn, offset: usize, to: &mut [u8]) {
        to.copy_from_slice(&self.0[mfn.0 as usize][offset..][..to.len()]);
    }

    fn write(&mut self, mfn: Mfn, offset: usize, from: &[u8]) {
        self.0[mfn.0 as usize][offset..][..from.len()].copy_from_slice(from);
    }
}

/// The two, the bytes of the one, and where each call goes.
struct Both {
    xen: Hypervisor,
    bytes: Bytes,
    model: Model,
}

/// Makes one call on both, and requires one result, which it returns.
macro_rules! agree {
    ($both:ident . $call:ident ( $($argument:expr),* )) => {{
        let result = $both.xen.$call($($argument),*);
        prop_assert_eq!(&result, &$both.model.$call($($argument),*));
        result
    }};
}

impl Both {
    fn new() -> Self {
        let mut xen = Hypervisor::new();
        xen.set_machine_pages(12);
        Self { xen, bytes: Bytes(vec![vec![0; 4096]; PAGES]), model: Model::new(12) }
    }

    /// Domain 0 has plenty of everything, 1 a table of version 2, and 2 few handles; 3 is yet to come.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        for (id, max_maptrack_frames, grant_version) in
            [(0, 4, GrantVersion::V1), (1, 4, GrantVersion::V2), (2, 1, GrantVersion::V1)]
        {
            let params = DomainParams {
                privileged: id == 0,
                max_grant_frames: 2,
                max_maptrack_frames,
                grant_version,
                ..DomainParams::bare()
            };
            self.make(&Call::Create(id, Box::new(params)))?;
            self.make(&Call::Allocate(id, 2))?;
        }
        Ok(())
    }

    fn reference(&self, granter: u16, pick: &Pick) -> GrantRef {
        match pick {
            Pick::Number(number) => GrantRef(*number),
            Pick::InUse(index) => {
                let grants = self.model.grants(DomainId(granter));
                if grants.is_empty() { GrantRef(8) } else { index.get(&grants).0 }
            }
        }
    }

    fn handle(&self, caller: u16, pick: &Pick) -> GrantHandle {
        match pick {
            Pick::Number(number) => GrantHandle(*number),
            Pick::InUse(index) => {
                let handles = self.model.handles(DomainId(caller));
                if handles.is_empty() { GrantHandle(0) } else { *index.get(&handles) }
            }
        }
    }

    fn end(&self, caller: u16, end: &End) -> CopyEnd {
        match end {
            End::Grant(domain, pick, offset) => {
                let granter = if *domain == 0x7ff0 { caller } else { *domain };
                let reference = self.reference(granter, pick);
                CopyEnd::Grant { domain: DomainId(*domain), reference, offset: *offset }
            }
            End::Page(domain, mfn, offset) => {
                CopyEnd::Page { domain: DomainId(*domain), mfn: Mfn(*mfn), offset: *offset }
            }
        }
    }

    fn make(&mut self, call: &Call) -> Result<(), TestCaseError> {
        match call {
            Call::SetMachinePages(pages) => {
                self.xen.set_machine_pages(*pages as u64);
                self.model.set_machine_pages(*pages);
            }
            Call::Create(id, params) => {
                let created = self.xen.create(DomainId(*id), (**params).clone());
                prop_assert_eq!(created, self.model.create(DomainId(*id), params));
            }
            Call::BeginDying(id) => _ = agree!(self.begin_dying(DomainId(*id))),
            Call::Destroy(id) => _ = agree!(self.destroy(DomainId(*id))),
            Call::Allocate(id, count) => _ = agree!(self.allocate_pages(DomainId(*id), *count)),
            Call::Release(id, mfn) => _ = agree!(self.release_page(DomainId(*id), Mfn(*mfn))),
            Call::NextFreed => {
                if let Some(mfn) = agree!(self.next_freed()) {
                    self.bytes.0[mfn.0 as usize].fill(0);
                    self.model.bytes[mfn.0 as usize].fill(0);
                }
            }
            Call::Grant(id, remote, mfn, access) => self.grant(*id, *remote, *mfn, *access)?,
            Call::GrantMany(id, remote, mfn) => {
                for _ in 0..300 {
                    self.grant(*id, *remote, *mfn, GrantAccess::ReadWrite)?;
                }
            }
            Call::Share(granter, remote, access, mapped) => {
                if let Some(last) = self.grant_fresh(*granter, *remote, *access)? {
                    _ = agree!(self.map_grant_ref(DomainId(*remote), DomainId(*granter), last, *mapped));
                }
            }
            Call::Relay(granter, by, to, access) => {
                if let Some(last) = self.grant_fresh(*granter, *by, *access)? {
                    self.make(&Call::Transitive(*by, *to, *access, *granter, Pick::Number(last.0)))?;
                }
            }
            Call::SubPage(id, remote, mfn, access, offset, length) => {
                let (id, remote, mfn) = (DomainId(*id), DomainId(*remote), Mfn(*mfn));
                let target = GrantTarget::SubPage { mfn, offset: *offset, length: *length };
                prop_assert_eq!(
                    self.xen.grant_sub_page(id, remote, mfn, *access, *offset, *length),
                    self.model.grant(id, Grant { remote, access: *access, target })
                );
            }
            Call::Transitive(id, remote, access, domain, pick) => {
                let reference = self.reference(*domain, pick);
                let (id, remote, domain) = (DomainId(*id), DomainId(*remote), DomainId(*domain));
                let target = GrantTarget::Transitive { domain, reference };
                prop_assert_eq!(
                    self.xen.grant_transitive(id, remote, *access, domain, reference),
                    self.model.grant(id, Grant { remote, access: *access, target })
                );
            }
            Call::GrantAt(id, reference, remote, mfn, access) => {
                let (reference, remote) = (GrantRef(*reference), DomainId(*remote));
                _ = agree!(self.grant_at(DomainId(*id), reference, remote, Mfn(*mfn), *access));
            }
            Call::End(id, pick, page) => {
                let reference = self.reference(*id, pick);
                _ = agree!(self.end_foreign_access(DomainId(*id), reference, page.map(Mfn)));
            }
            Call::Retry(id) => _ = agree!(self.retry_deferred(DomainId(*id))),
            Call::SetVersion(id, version) => _ = agree!(self.set_grant_version(DomainId(*id), *version)),
            Call::Map(id, granter, pick, access) => {
                let reference = self.reference(*granter, pick);
                _ = agree!(self.map_grant_ref(DomainId(*id), DomainId(*granter), reference, *access));
            }
            Call::MapAsMeant(granter, pick, access, times) => {
                let (reference, remote) = self.meant(*granter, pick);
                for _ in 0..*times {
                    _ = agree!(self.map_grant_ref(DomainId(remote), DomainId(*granter), reference, *access));
                }
            }
            Call::CopyAsMeant(granter, pick, byte) => {
                let (reference, remote) = self.meant(*granter, pick);
                let pick = Pick::Number(reference.0);
                self.make(&match byte {
                    Some(byte) => Call::Write(remote, *granter, pick, 0, vec![*byte; 4096]),
                    None => Call::Read(remote, *granter, pick, 0, 4096),
                })?;
            }
            Call::Unmap(id, pick) => {
                let handle = self.handle(*id, pick);
                _ = agree!(self.unmap_grant_ref(DomainId(*id), handle));
            }
            Call::Copy(id, source, dest, length) => {
                let (source, dest) = (self.end(*id, source), self.end(*id, dest));
                prop_assert_eq!(
                    self.xen.grant_copy(DomainId(*id), source, dest, *length, &mut self.bytes),
                    self.model.grant_copy(DomainId(*id), source, dest, *length)
                );
            }
            Call::Read(id, granter, pick, offset, length) => {
                let end = self.end(*id, &End::Grant(*granter, pick.clone(), *offset));
                let CopyEnd::Grant { domain, reference, offset } = end else { unreachable!() };
                let mut bytes = vec![0; *length];
                let id = DomainId(*id);
                let read = self.xen.grant_read(id, domain, reference, offset, &mut bytes, &mut self.bytes);
                let expected = self.model.own_copy(id, end, GrantAccess::ReadOnly, *length);
                prop_assert_eq!(read.map(|()| &bytes[..]), expected.map(|bytes| &*bytes));
            }
            Call::Write(id, granter, pick, offset, bytes) => {
                let end = self.end(*id, &End::Grant(*granter, pick.clone(), *offset));
                let CopyEnd::Grant { domain, reference, offset } = end else { unreachable!() };
                let id = DomainId(*id);
                let written = self.xen.grant_write(id, domain, reference, offset, bytes, &mut self.bytes);
                let expected = self.model.own_copy(id, end, GrantAccess::ReadWrite, bytes.len());
                prop_assert_eq!(written, expected.map(|there| there.copy_from_slice(bytes)));
            }
            Call::Size(id, named) => _ = agree!(self.query_grant_size(DomainId(*id), DomainId(*named))),
        }
        Ok(())
    }

    /// A reference, and whom it is granted to.
    fn meant(&self, granter: u16, pick: &Pick) -> (GrantRef, u16) {
        let reference = self.reference(granter, pick);
        let grants = self.model.grants(DomainId(granter));
        let found = grants.iter().find(|grant| grant.0 == reference);
        let remote =
            found.and_then(|(_, report)| report.grant.map(|grant| grant.remote).or(report.mapped_by));
        (reference, remote.map_or(0, |remote| remote.0))
    }

    /// Allocates a page and grants it.
    fn grant_fresh(
        &mut self,
        granter: u16,
        remote: u16,
        access: GrantAccess,
    ) -> Result<Option<GrantRef>, TestCaseError> {
        let Ok(pages) = agree!(self.allocate_pages(DomainId(granter), 1)) else { return Ok(None) };
        let (remote, target) = (DomainId(remote), GrantTarget::Page(pages[0]));
        let granted = self.xen.grant_foreign_access(DomainId(granter), remote, pages[0], access);
        prop_assert_eq!(granted, self.model.grant(DomainId(granter), Grant { remote, access, target }));
        Ok(granted.ok())
    }

    fn grant(&mut self, id: u16, remote: u16, mfn: u64, access: GrantAccess) -> Result<(), TestCaseError> {
        let (id, remote, mfn) = (DomainId(id), DomainId(remote), Mfn(mfn));
        let target = GrantTarget::Page(mfn);
        prop_assert_eq!(
            self.xen.grant_foreign_access(id, remote, mfn, access),
            self.model.grant(id, Grant { remote, access, target })
        );
        Ok(())
    }

    /// Compares all there is to see.
    fn compare(&self) -> Result<(), TestCaseError> {
        let mut alive = vec![];
        for domain in &self.model.domains {
            let id = domain.id;
            prop_assert_eq!(self.xen.is_zombie(id), !domain.alive);
            prop_assert_eq!(self.xen.grant_version(id), Ok(domain.version));
            prop_assert_eq!(self.xen.deferred(id), domain.deferred.len());
            prop_assert_eq!(self.xen.maptrack_in_use(id), self.model.handles(id).len());
            prop_assert_eq!(self.xen.grants(id).collect::<Vec<_>>(), self.model.grants(id));
            alive.extend(domain.alive.then_some(id));
        }
        alive.sort();
        prop_assert_eq!(self.xen.domains().collect::<Vec<_>>(), alive);
        let owners = |owner: &dyn Fn(Mfn) -> Option<DomainId>| (0..20).map(|mfn| owner(Mfn(mfn))).collect();
        let (ours, theirs): (Vec<_>, Vec<_>) =
            (owners(&|mfn| self.xen.page_owner(mfn)), owners(&|mfn| self.model.page_owner(mfn)));
        prop_assert_eq!(&ours, &theirs);
        prop_assert_eq!(self.xen.pages_in_use(), theirs.iter().flatten().count());
        prop_assert!(self.bytes.0 == self.model.bytes, "the bytes differ");
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        // 256 by default, unless PROPTEST_CASES says otherwise: too few for the rarer meetings.
        cases: ProptestConfig::default().cases.max(1024),
        failure_persistence: Some(Box::new(
            FileFailurePersistence::Direct("tests/grants_against_model.regressions"),
        )),
        ..ProptestConfig::default()
    })]

    #[test]
    fn agrees_with_the_model(calls in prop::collection::vec(call(), 1..100)) {
        let mut both = Both::new();
        both.settle()?;
        for call in &calls {
            both.make(call)?;
            both.compare()?;
        }
        for _ in 0..=PAGES {
            both.make(&Call::NextFreed)?;
        }
        both.compare()?;
    }
}
