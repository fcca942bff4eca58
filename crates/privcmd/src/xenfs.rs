//! What the files of `/proc/xen` hold.

use alloc::{string::ToString, vec::Vec};

/// `/proc/xen/capabilities`: a line in the control domain, nothing elsewhere.
pub const fn capabilities(control_domain: bool) -> &'static [u8] {
    if control_domain { b"control_d\n" } else { b"" }
}

/// `/proc/xen/xsd_port`, in the control domain: the port that the kernel has for the store, without a new line.
pub fn xsd_port(port: u32) -> Vec<u8> {
    port.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_hold_what_programs_parse() {
        assert_eq!(capabilities(true), b"control_d\n");
        assert_eq!(capabilities(false), b"");
        assert_eq!(xsd_port(17), b"17");
    }
}
