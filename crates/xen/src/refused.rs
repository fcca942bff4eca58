//! Why the hypervisor refuses a call, and the error number of each refusal.

use core::fmt;
use ioctlab_abi::Errno;

macro_rules! refusals {
    ($($(#[doc = $doc:literal])* $name:ident => $errno:ident, $text:literal;)*) => {
        /// Why a call was refused. A refused call has changed nothing that any other call can tell.
        ///
        /// Each refusal has one error number, Xen's, which [`Refused::errno`] gives.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Refused {
            $(
                $(#[doc = $doc])*
                #[doc = concat!("(`", stringify!($errno), "`)")]
                $name,
            )*
        }

        impl Refused {
            /// The error number that Xen answers with.
            pub const fn errno(self) -> Errno {
                match self {
                    $(Self::$name => Errno::$errno,)*
                }
            }

            const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

refusals! {
    /// No domain has this number; reserved numbers other than `DOMID_SELF` included.
    NoSuchDomain => ESRCH, "no such domain";
    /// A domain with this number exists already.
    DomainExists => EEXIST, "a domain with this number exists already";
    /// No domain may have this number.
    ReservedDomain => EINVAL, "domain numbers from 0x7ff0 up are reserved";
    /// A domain has 1 to 8192 vcpus (`MAX_VIRT_CPUS`).
    BadVcpuCount => EINVAL, "a domain has 1 to 8192 vcpus";
    /// The domain is dying, and gets no more ports.
    Dying => EINVAL, "the domain is dying";
    /// Every port up to the domain's limit, or the ABI's, is in use.
    NoFreePort => ENOSPC, "no free port";
    /// The caller has no control over the other domain.
    NotPrivileged => EPERM, "the caller has no control over that domain";
    /// The port is beyond any that the domain has had (Xen has no memory for it).
    NoSuchPort => EINVAL, "no such port";
    /// The port is free.
    PortFree => EINVAL, "the port is free";
    /// The port belongs to Xen itself, not to the guest.
    XenPort => EINVAL, "the port is Xen's own";
    /// The port belongs to Xen itself, and its status is nobody else's business.
    XenPortStatus => EACCES, "the port is Xen's own, and its status is not told";
    /// The remote port isn't unbound.
    NotUnbound => EINVAL, "the remote port is not unbound";
    /// The remote port is unbound, but meant for another domain.
    ForAnother => EINVAL, "the remote port awaits another domain";
    /// Nothing can be sent through a port bound to a VIRQ or a PIRQ.
    NotSendable => EINVAL, "nothing can be sent through a VIRQ or PIRQ";
    /// VIRQs are numbered 0 to 23.
    NoSuchVirq => EINVAL, "VIRQs are numbered 0 to 23";
    /// Only per-vcpu VIRQs go to another vcpu than 0.
    Vcpu0Only => EINVAL, "this VIRQ binds to vcpu 0 only";
    /// The domain hasn't so many vcpus.
    NoSuchVcpu => ENOENT, "no such vcpu";
    /// The VIRQ (of this vcpu) or PIRQ is bound in this domain already.
    AlreadyBound => EEXIST, "bound already";
    /// A global VIRQ goes to another domain, its handler.
    NotHandler => EBUSY, "another domain handles this VIRQ";
    /// The VIRQ isn't global, and so has no handler.
    NotGlobal => EINVAL, "not a global VIRQ";
    /// Nobody has bound the VIRQ. Xen itself would drop it without a word.
    VirqNotBound => ENOTCONN, "nobody has bound this VIRQ";
    /// An IPI's or a per-vcpu VIRQ's port stays with its vcpu.
    VcpuFixed => EINVAL, "this port stays with its vcpu";
    /// Another domain's ports can be reset only while the toolstack has it paused.
    NotPaused => EINVAL, "the domain is not paused";
    /// The domain uses the two-level ABI, which has no event array to expand.
    NotFifo => ENOSYS, "the domain does not use the FIFO ABI";
    /// The event array has all its pages.
    ArrayFull => EINVAL, "the event array is complete";
    /// Machine memory is used up, or what has been freed of it wasn't scrubbed yet.
    OutOfMemory => ENOMEM, "out of machine memory";
    /// The page isn't the domain's, or the domain has let go of it already.
    NotPageOwner => EINVAL, "the page is not the domain's";
    /// A grant table has at least one frame (`INITIAL_NR_GRANT_FRAMES`).
    BadGrantFrames => EINVAL, "a grant table has at least one frame";
    /// Every entry of the grant table is in use, and it has all its frames.
    NoFreeGrant => ENOSPC, "no free grant";
    /// Entries from 8 up are handed out by the guest's kernel, and by nobody else.
    NotReservedGrant => EINVAL, "the grant reference is not a reserved one";
    /// The kernel has granted nothing with this reference, or has ended it already.
    NotGranted => EINVAL, "nothing is granted with this reference";
    /// Others have grants of this domain mapped.
    GrantsInUse => EBUSY, "grants are in use";
    /// Grants of parts of a page, or of other domains' grants, need version 2 of the grant table.
    NotGrantV2 => ENOSYS, "the grant table is not of version 2";
}

impl From<Refused> for Errno {
    fn from(refused: Refused) -> Self {
        refused.errno()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for Refused {}
