//! Addresses as text.

use ioctlab_pci::{Address, BadAddress};

#[test]
fn addresses_are_read_and_written() {
    for (text, printed) in [
        ("0000:00:05.0", "0000:00:05.0"),
        ("1:1f.7", "0000:01:1f.7"),
        ("a:ff:0.0", "000a:ff:00.0"),
        ("FFFF:AB:1F.7", "ffff:ab:1f.7"),
    ] {
        let read = text.parse::<Address>().map(|address| address.to_string());
        assert_eq!(read, Ok(printed.into()), "{text}");
    }
    for bad in [
        "",
        "00",
        "0:0",
        "00:20.0",
        "00:00.8",
        "0:100:0.0",
        "00:+5.0",
        "x:0.0",
        "00:00.00.0",
        "::.0",
        "10000:00:00.0",
        "0:0:0:0.0",
        "00:05.0 ",
        " 00:05.0",
        "00:-5.0",
        "00:05.",
        "00:05,0",
    ] {
        assert_eq!(bad.parse::<Address>(), Err(BadAddress), "{bad}");
    }
    assert_eq!(
        BadAddress.to_string(),
        "expected SEGMENT:BUS:DEVICE.FUNCTION in hexadecimal, like 0000:00:05.0"
    );
}

#[test]
fn parts_are_in_their_places() {
    let address: Address = "0000:01:02.3".parse().unwrap();
    assert_eq!((address.devfn(), address.requester()), (0x13, 0x113));
    let last: Address = "ffff:ff:1f.7".parse().unwrap();
    assert_eq!((last.devfn(), last.requester()), (0xff, 0xffff));
}
