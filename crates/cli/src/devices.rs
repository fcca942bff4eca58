//! `ioctlab devices`: what this version simulates, and how a lab file asks for it.

use std::io::{self, Write};

use ioctlab_lab::config::{vfio, xen};

/// One driver with the nodes it serves and the machine behind them.
struct Device {
    /// The nodes, as a program opens them.
    nodes: &'static [&'static str],
    /// The Linux driver whose behaviour it has.
    driver: &'static str,
    /// What is simulated behind it.
    machine: &'static str,
    /// The choices of model, where there are any.
    models: &'static [&'static str],
    /// The lab file's tables, and their keys.
    lab: &'static [(&'static str, &'static [&'static str])],
}

/// Everything there is; a further device is a further row.
const DEVICES: &[Device] = &[
    Device {
        nodes: &["/dev/xen/evtchn"],
        driver: "xen-evtchn",
        machine: XEN,
        models: &[],
        lab: &[("[xen]", xen::KEYS), ("[[xen.domain]]", xen::DOMAIN_KEYS)],
    },
    Device { nodes: &["/dev/xen/gntdev"], driver: "xen-gntdev", machine: XEN, models: &[], lab: &[] },
    Device { nodes: &["/dev/xen/gntalloc"], driver: "xen-gntalloc", machine: XEN, models: &[], lab: &[] },
    Device {
        nodes: &["/dev/xen/privcmd", "/proc/xen/privcmd"],
        driver: "xen-privcmd, as far as asking for domains and versions goes",
        machine: XEN,
        models: &[],
        lab: &[],
    },
    Device {
        nodes: &["/dev/xen/xenbus", "/proc/xen/xenbus"],
        driver: "xenbus",
        machine: "a Xen host, and a xenstored that runs in the lab's domain 0",
        models: &[],
        lab: &[],
    },
    Device {
        nodes: &["/proc/xen/capabilities", "/proc/xen/xsd_port", "/proc/xen/xsd_kva"],
        driver: "xenfs",
        machine: XEN,
        models: &[],
        lab: &[],
    },
    Device {
        nodes: &["/dev/vfio/vfio"],
        driver: "vfio, vfio_iommu_type1",
        machine: "an IOMMU, with or without interrupt remapping",
        models: &[],
        lab: &[("[vfio]", vfio::KEYS), ("[[vfio.device]]", vfio::DEVICE_KEYS)],
    },
    Device {
        nodes: &["/dev/vfio/N", "/dev/vfio/noiommu-N"],
        driver: "vfio-pci",
        machine: "PCI devices: configuration space, BARs, INTx, MSI, MSI-X, DMA",
        models: &["edu (QEMU's)", "test (to test programs with)", "clone (of what lspci prints)"],
        lab: &[],
    },
];

const XEN: &str = "a Xen host: domains, event channels, VIRQs, grant tables";

/// Lists the devices: a paragraph each.
///
/// # Errors
/// Those of writing to `out`.
pub(crate) fn print(out: &mut dyn Write) -> io::Result<()> {
    for (index, device) in DEVICES.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        writeln!(out, "{}", device.nodes.join(" "))?;
        writeln!(out, "    driver    {}", device.driver)?;
        writeln!(out, "    machine   {}", device.machine)?;
        if !device.models.is_empty() {
            writeln!(out, "    models    {}", device.models.join(", "))?;
        }
        for (index, (table, keys)) in device.lab.iter().enumerate() {
            let label = if index == 0 { "lab file" } else { "" };
            // A key that names another table is that table's own line.
            let inner = |key: &str| device.lab.iter().any(|(other, _)| other.ends_with(&format!(".{key}]]")));
            let keys: Vec<&str> = keys.iter().copied().filter(|key| !inner(key)).collect();
            writeln!(out, "    {label:<8}  {table} {}", keys.join(", "))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_list() {
        let mut out = Vec::new();
        super::print(&mut out).expect("memory");
        let expected = "\
/dev/xen/evtchn
    driver    xen-evtchn
    machine   a Xen host: domains, event channels, VIRQs, grant tables
    lab file  [xen] event_channels, console_to_ring, evtchn_minor, machine_memory, gntdev_limit, gntalloc_limit
              [[xen.domain]] id, name, vcpus, memory, max_event_channel_port, kernel_virqs, kernel_ports, \
                        max_grant_frames, max_maptrack_frames, grant_version

/dev/xen/gntdev
    driver    xen-gntdev
    machine   a Xen host: domains, event channels, VIRQs, grant tables

";
        let printed = String::from_utf8(out).expect("text");
        assert!(printed.starts_with(expected), "{printed}");
        let expected = "
/dev/vfio/vfio
    driver    vfio, vfio_iommu_type1
    machine   an IOMMU, with or without interrupt remapping
    lab file  [vfio] interrupt_remapping, allow_unsafe_interrupts, address_width, dma_entry_limit, locked_memory, \
                        noiommu
              [[vfio.device]] address, model, group, driver, memory, lspci, bars, rom, contents, bar_addresses, \
                        interrupt_line

/dev/vfio/N /dev/vfio/noiommu-N
    driver    vfio-pci
    machine   PCI devices: configuration space, BARs, INTx, MSI, MSI-X, DMA
    models    edu (QEMU's), test (to test programs with), clone (of what lspci prints)
";
        assert!(printed.ends_with(expected), "{printed}");
        let nodes = ["/dev/xen/gntalloc", "/dev/xen/privcmd", "/dev/xen/xenbus", "/proc/xen/xsd_kva"];
        assert!(nodes.iter().all(|node| printed.contains(node)), "{printed}");
    }
}
