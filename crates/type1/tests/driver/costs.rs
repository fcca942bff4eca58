//! What mapping costs: the same for each size, and little more with many mappings.

use std::time::{Duration, Instant};

use ioctlab_type1::Parameters;

use crate::harness::{BOTH, BUFFER, Lab, PAGE};

#[test]
fn a_mapping_is_one_step_whatever_its_size() {
    let mut lab = Lab::v2();
    lab.program.make_pinnable(BUFFER + (1 << 40), 1 << 36, true);
    for size in [PAGE, 1 << 30, 1 << 36] {
        let (checks, calls) = (lab.program.pin_checks, lab.machine.calls);
        assert_eq!(lab.map(BOTH, BUFFER + (1 << 40), 1 << 37, size), Ok(()));
        assert_eq!((lab.program.pin_checks - checks, lab.machine.calls - calls), (1, 1));
        assert_eq!(lab.unmap(0, 1 << 37, size), (Ok(()), size));
        assert_eq!(lab.machine.calls - calls, 2);
    }
}

/// A million mappings add less to a call than it takes to arrive (some 5 µs), so that no program sees twice the time.
/// Times are of this machine: not for every run.
#[test]
#[ignore = "measures time"]
#[allow(clippy::print_stdout)]
fn a_million_mappings() {
    let few = time_of_one(10);
    let many = time_of_one(1_000_000);
    println!("10: {few:?}, 1,000,000: {many:?}");
    assert!(many <= few + Duration::from_micros(5), "10: {few:?}, 1,000,000: {many:?}");
}

/// The time that a mapping and its unmapping take among so many others.
fn time_of_one(others: u64) -> Duration {
    let mut lab = Lab::new(3, Parameters { dma_entry_limit: u32::MAX, ..Parameters::default() });
    for page in 0..others {
        assert_eq!(lab.map(BOTH, BUFFER, (1 << 33) + 2 * page * PAGE, PAGE), Ok(()));
    }
    let rounds = 100_000;
    let start = Instant::now();
    for round in 0..rounds {
        let iova = (1 << 33) + (2 * (round * 7919 % others) + 1) * PAGE;
        assert_eq!(lab.map(BOTH, BUFFER, iova, PAGE), Ok(()));
        assert_eq!(lab.unmap(0, iova, PAGE), (Ok(()), PAGE));
    }
    start.elapsed() / rounds as u32
}
