//! Opening, closing, resets, power states, and names.

use ioctlab_abi::vfio as v;
use ioctlab_chardev::{Errno, UserPtr};
use ioctlab_vfio_pci::{Device, Done, Function, Role, Transfer, Width};

use crate::bench::{BUFFER, Bench, CONFIG, E};
use crate::fake::Fake;

#[test]
fn nothing_is_answered_before_it_is_opened() {
    let mut bench = Bench::new(Fake::edu());
    bench.close();
    assert!(!bench.device.is_open());
    assert_eq!(bench.call(v::DEVICE_GET_INFO, BUFFER), Err(Errno::EINVAL));
    assert_eq!(bench.pread(0, 4), Err(Errno::EINVAL));
    assert_eq!(bench.pwrite(0, &[0; 4]), Err(Errno::EINVAL));
    assert_eq!(bench.mmap(0, 4096, true), Err(Errno::EINVAL));
    bench.close();
}

#[test]
fn opening_stops_dma_and_enables_what_has_bars() {
    let mut fake = Fake::e1000e();
    fake.config[4..6].copy_from_slice(&0x0404_u16.to_le_bytes());
    let mut bench = Bench::new(fake);
    assert_eq!((bench.function.command(), bench.function.resets), (3, 1));
    // Of no effect while it is open.
    bench.cw(4, 2, 7).unwrap();
    bench.open();
    assert_eq!((bench.function.command(), bench.function.resets), (7, 1));
    bench.close();
    assert_eq!((bench.function.command(), bench.function.resets), (3, 2));
    // Without a reset the registers are restored all the same.
    let mut bench = Bench::new(Fake::edu());
    bench.cw(4, 2, 0x0507).unwrap();
    bench.cw(0xc, 1, 0x42).unwrap();
    bench.close();
    assert_eq!((bench.function.command(), bench.function.config[0xc], bench.function.resets), (0x0103, 0, 0));
}

#[test]
fn a_reset_keeps_what_linux_restores() {
    let mut bench = Bench::new(Fake::e1000e());
    bench.cw(4, 2, 0x0106).unwrap();
    bench.cw(0xe8, 2, 0x5810).unwrap();
    bench.function.write_config(0x108, Width::Dword, 0x0010_0000);
    bench.function.write_config(0xa0, Width::Dword, 0x8000_0000);
    let before = bench.function.config.clone();
    assert_eq!(bench.call(v::DEVICE_RESET, 0), Ok(Done::Reset));
    assert_eq!((bench.function.resets, &bench.function.config), (2, &before));
    bench.device.reset(&mut bench.function);
    assert_eq!((bench.function.resets, &bench.function.config), (3, &before));
    assert_eq!(bench.function.reachable, Some(true));
    let mut bench = Bench::new(Fake::edu());
    assert_eq!(bench.call(v::DEVICE_RESET, 0), Err(Errno::EINVAL));
}

#[test]
fn flr_is_a_reset_and_reads_as_0() {
    let mut bench = Bench::new(Fake::e1000e());
    bench.program.put(BUFFER, &0xa810_u16.to_le_bytes());
    let write = |bench: &mut Bench| {
        bench.device.write(CONFIG + 0xe8, UserPtr(BUFFER), 2, &mut bench.program, &mut bench.function)
    };
    assert_eq!(write(&mut bench), Ok(Transfer::Reset(2)));
    assert_eq!((bench.function.resets, bench.cr(0xe8, 2) & 0x8000), (2, 0));
    bench.function.config[0xe7] = 0;
    bench.program.put(BUFFER, &0xa810_u16.to_le_bytes());
    assert_eq!(write(&mut bench), Ok(Transfer::Done(2)));
    assert_eq!((bench.function.resets, bench.cr(0xe8, 2) & 0x8000), (2, 0));
}

#[test]
fn in_d3_nothing_is_decoded() {
    let mut bench = Bench::new(Fake::nvme());
    // D1 and D2 aren't there.
    for state in [1, 2] {
        bench.cw(0x64, 2, state).unwrap();
        assert_eq!((bench.cr(0x64, 2), bench.function.reachable), (8, Some(true)));
    }
    bench.cw(0x64, 2, 3).unwrap();
    assert_eq!((bench.cr(0x64, 2), bench.function.reachable), (11, Some(false)));
    assert_eq!(bench.pread(0, 4), Err(Errno::EIO));
    bench.cw(0x64, 1, 0).unwrap();
    assert_eq!((bench.cr(0x64, 2), bench.function.reachable), (8, Some(true)));
    // A byte that isn't the state's.
    bench.cw(0x65, 1, 3).unwrap();
    assert_eq!(bench.function.reachable, Some(true));
    // Closed and reset, it is in D0 again.
    bench.cw(0x64, 2, 3).unwrap();
    assert_eq!(bench.call(v::DEVICE_RESET, 0), Ok(Done::Reset));
    assert_eq!((bench.cr(0x64, 2), bench.function.reachable), (8, Some(true)));
    bench.cw(0x64, 2, 3).unwrap();
    bench.close();
    assert_eq!(bench.function.config[0x64], 8);
}

#[test]
fn flr_ends_d3() {
    let mut bench = Bench::new(Fake::nvme());
    bench.cw(0x64, 2, 3).unwrap();
    bench.cw(0x88, 2, 0x8000).unwrap();
    assert_eq!((bench.function.resets, bench.cr(0x64, 2), bench.mr(0)), (2, 8, 0x0f01_07ff));
    assert_eq!(bench.function.reachable, Some(true));
}

#[test]
fn closing_ends_a_power_state_without_a_reset() {
    let mut fake = Fake::nvme();
    fake.can_reset = false;
    let mut bench = Bench::new(fake);
    bench.cw(0x64, 2, 3).unwrap();
    bench.close();
    assert_eq!((bench.function.config[0x64], bench.function.resets), (8, 0));
}

#[test]
fn a_function_that_loses_its_state_in_d3_is_restored() {
    let mut fake = Fake::nvme();
    fake.config[0x64] = 0;
    fake.power_on[0x64] = 0;
    let mut bench = Bench::new(fake);
    bench.cw(4, 2, 6).unwrap();
    bench.cw(0x64, 2, 3).unwrap();
    // What hardware does on its way back.
    bench.function.config[4..6].fill(0);
    bench.function.config[0x10..0x14].fill(0);
    bench.cw(0x64, 2, 0).unwrap();
    assert_eq!((bench.function.command(), bench.function.read_config(0x10, Width::Dword)), (6, 0xfe98_4004));
}

#[test]
fn an_interrupt_on_the_way_out_is_lost() {
    let mut bench = Bench::new(Fake::edu());
    bench.irq_fds(0, 0, &[E]).unwrap();
    bench.function.set_intx(true);
    bench.device.close(&mut bench.function);
    bench.function.reachable = None;
    bench.settle();
    assert_eq!(bench.take(E), 0);
    assert!(bench.program.events.is_empty());
}

const UUID: &str = "2ab74924-c335-45f4-9b16-8569e5b08258";
const TOKEN: [u8; 16] =
    [0x2a, 0xb7, 0x49, 0x24, 0xc3, 0x35, 0x45, 0xf4, 0x9b, 0x16, 0x85, 0x69, 0xe5, 0xb0, 0x82, 0x58];

/// The record's `g.devfd-` lines, and more of their kind.
#[test]
fn names_have_options() {
    let own = "0000:00:05.0";
    let mut device = Device::new(Role::Plain);
    let token = format!(" vf_token={UUID}");
    for (name, result) in [
        ("0000:ff:1f.7".into(), Ok(false)),
        (String::new(), Ok(false)),
        ("a".repeat(4095), Ok(false)),
        ("0000:00".into(), Ok(false)),
        ("0000:00:05".into(), Ok(false)),
        (own.into(), Ok(true)),
        (format!("{own} "), Ok(true)),
        (format!("{own}    "), Ok(true)),
        (format!("{own}xyz"), Ok(false)),
        (format!("{own}\t"), Ok(false)),
        (format!("{own} x"), Err(Errno::EINVAL)),
        (format!("{own} vf_token=1"), Err(Errno::EINVAL)),
        (format!("{own}{token}"), Err(Errno::EINVAL)),
    ] {
        assert_eq!(device.matches(name.as_bytes(), own, None), result, "{name}");
    }
    let mut physical = Device::new(Role::Physical { token: [0; 16] });
    for (options, result) in [
        (token.clone(), Ok(true)),
        (format!("  {} ", token.to_uppercase().replace("VF_TOKEN", "vf_token")), Ok(true)),
        (format!("{token}{token}"), Err(Errno::EINVAL)),
        (format!("{token}x"), Err(Errno::EINVAL)),
        (token.replace('-', "_"), Err(Errno::EINVAL)),
        (token.replace("2ab", "2ag"), Err(Errno::EINVAL)),
        (token[..token.len() - 1].into(), Err(Errno::EINVAL)),
    ] {
        assert_eq!(physical.matches(format!("{own}{options}").as_bytes(), own, None), result, "{options}");
    }
}

#[test]
fn virtual_functions_share_the_token_of_their_physical_one() {
    let mut physical = Device::new(Role::Physical { token: [0; 16] });
    let mut function = Device::new(Role::Virtual { vendor: 1, device: 2 });
    let with = format!("v vf_token={UUID}");
    // Whoever isn't vfio-pci's has no token.
    assert_eq!(function.matches(b"v", "v", None), Ok(true));
    assert_eq!(function.matches(with.as_bytes(), "v", None), Err(Errno::EINVAL));
    assert_eq!(function.matches(b"v", "v", Some(&physical)), Err(Errno::EACCES));
    assert_eq!(function.matches(with.as_bytes(), "v", Some(&physical)), Err(Errno::EACCES));
    // The physical one's user sets it, unless a virtual one is in use.
    assert_eq!(physical.matches(with.as_bytes(), "v", None), Ok(true));
    assert_eq!(function.matches(with.as_bytes(), "v", Some(&physical)), Ok(true));
    physical.add_virtual_user();
    let other = with.replace("2ab", "2aa");
    assert_eq!(physical.matches(b"v", "v", None), Err(Errno::EACCES));
    assert_eq!(physical.matches(other.as_bytes(), "v", None), Err(Errno::EACCES));
    assert_eq!(physical.matches(with.as_bytes(), "v", None), Ok(true));
    physical.remove_virtual_user();
    assert_eq!(physical.matches(other.as_bytes(), "v", None), Ok(true));
    assert_eq!(function.matches(with.as_bytes(), "v", Some(&physical)), Err(Errno::EACCES));
    let mut same = Device::new(Role::Physical { token: TOKEN });
    same.add_virtual_user();
    assert_eq!(same.matches(with.as_bytes(), "v", None), Ok(true));
}
