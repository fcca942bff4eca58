//! Event channels: what can be asked of them.

use crate::{Hypercalls, PortState};
use ioctlab_chardev::layout::{half_word, put, word};
use ioctlab_chardev::{Errno, UserMemory, UserPtr};

/// `EVTCHNOP_status`
const STATUS: u64 = 5;

/// `EVTCHNOP_status`; other operations are the kernel's.
///
/// # Errors
/// `ENOSYS` for others, `EFAULT`, Xen's.
pub(crate) fn event_channel_op(
    op: u64,
    argument: UserPtr,
    memory: &mut dyn UserMemory,
    xen: &dyn Hypercalls,
) -> Result<(), Errno> {
    if op != STATUS {
        return Err(Errno::ENOSYS);
    }
    let mut bytes = memory.fetch::<24>(argument)?;
    let status = xen.port_status(half_word(&bytes, 0), word(&bytes, 4))?;
    let number: u32 = match status.state {
        PortState::Closed => 0,
        PortState::Unbound { remote } => {
            put(&mut bytes, 16, &remote.to_ne_bytes());
            1
        }
        PortState::Interdomain { remote, port } => {
            put(&mut bytes, 16, &remote.to_ne_bytes());
            put(&mut bytes, 20, &port.to_ne_bytes());
            2
        }
        PortState::Pirq(irq) => {
            put(&mut bytes, 16, &irq.to_ne_bytes());
            3
        }
        PortState::Virq(virq) => {
            put(&mut bytes, 16, &virq.to_ne_bytes());
            4
        }
        PortState::Ipi => 5,
    };
    put(&mut bytes, 8, &number.to_ne_bytes());
    put(&mut bytes, 12, &status.vcpu.to_ne_bytes());
    Ok(memory.write(argument, &bytes)?)
}
