//! The log of faults.

use ioctlab_iommu::{Access, Fault, FaultLog, Reason, Record, SourceId};

fn fault(address: u64) -> Fault {
    Fault { address, access: Access::Write, reason: Reason::NotPresent }
}

#[test]
fn a_full_log_loses_the_newest() {
    let mut log = FaultLog::new(2);
    for address in 1..=5 {
        log.record(SourceId(0x28), fault(address));
    }
    assert_eq!(log.take_lost(), 3);
    assert_eq!(log.take_lost(), 0);
    assert_eq!(log.take(), Some(Record { source: SourceId(0x28), fault: fault(1) }));
    log.record(SourceId(0x30), fault(9));
    assert_eq!(log.take().map(|record| record.fault.address), Some(2));
    assert_eq!(log.take().map(|record| (record.source, record.fault.address)), Some((SourceId(0x30), 9)));
    assert_eq!(log.take(), None);
}

#[test]
fn in_words() {
    let rows = [
        (0x0028, Access::Read, Reason::NotPresent, "device 00:05.0 reads 0x1000: nothing is mapped there"),
        (
            0xff0f,
            Access::Write,
            Reason::NotAttached,
            "device ff:01.7 writes 0x1000: the device is attached to no domain",
        ),
        (
            0x00f8,
            Access::Write,
            Reason::NoWritePermission,
            "device 00:1f.0 writes 0x1000: it may not be written",
        ),
        (0x00f8, Access::Read, Reason::NoReadPermission, "device 00:1f.0 reads 0x1000: it may not be read"),
        (
            0x00f8,
            Access::Read,
            Reason::BeyondWidth,
            "device 00:1f.0 reads 0x1000: the address has too many bits",
        ),
    ];
    for (source, access, reason, words) in rows {
        let record = Record { source: SourceId(source), fault: Fault { address: 0x1000, access, reason } };
        assert_eq!(record.to_string(), words);
    }
    assert_eq!(Fault { address: 0, access: Access::Read, reason: Reason::NotAttached }.code(), 2);
}
