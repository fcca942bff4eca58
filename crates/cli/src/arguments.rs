//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ioctlab_lab::config::Address;

/// Runs unmodified Linux programs on devices that aren't there.
///
/// A program that is run by ioctlab finds the device nodes of a lab: drivers and machines that live in user space. No
/// root, no kernel module, no hypervisor, no hardware.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a program on a lab's devices
    Run(Run),
    /// Bring up a lab that several runs share, until it is taken down
    Up(Up),
    /// Take a shared lab down
    Down {
        /// The lab's name
        name: String,
    },
    /// List the labs that are up
    List,
    /// Act on a shared lab's Xen host from outside
    Xen(Xen),
    /// Act on a shared lab's PCI devices from outside
    Vfio(Vfio),
    /// List the device nodes and machines that a lab can have, with their keys in a lab file
    Devices,
    /// Say what this machine allows, what each missing thing costs, and how to get it
    Doctor,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: the program's own, 128+N if signal N killed it; 127 if there is no such program, \
    126 if it can't be executed, 125 if ioctlab itself failed."
)]
pub(crate) struct Run {
    /// The lab file; without one, a built-in lab with a bit of everything
    #[arg(long, value_name = "FILE", conflicts_with = "in_lab")]
    pub(crate) lab: Option<PathBuf>,
    /// Run in the shared lab of this name (see `ioctlab up`)
    #[arg(long = "in", value_name = "LAB")]
    pub(crate) in_lab: Option<String>,
    /// The Xen domain to run as, in decimal or 0x hexadecimal; the lab's lowest unless given
    #[arg(long, value_name = "ID", value_parser = number)]
    pub(crate) domain: Option<u16>,
    /// Log each device call, to standard error or to a file
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    #[expect(clippy::option_option, reason = "absent, without a value, with a value")]
    pub(crate) trace: Option<Option<PathBuf>>,
    /// How the program comes to see the devices; by default the best way that this machine allows
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) isolation: Option<Isolation>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Isolation {
    /// A mount namespace with a /dev of its own
    Namespace,
    /// Trapping every call that names a path: slower, but allowed nearly everywhere
    Paths,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// The lab file; without one, the built-in lab
    #[arg(long, value_name = "FILE")]
    pub(crate) lab: Option<PathBuf>,
    /// Log each device call to a file
    #[arg(long, value_name = "FILE", require_equals = true)]
    pub(crate) trace: Option<PathBuf>,
    /// The lab's name: letters, digits, `-`, `_` and `.`
    #[arg(value_parser = lab_name)]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct Xen {
    #[command(subcommand)]
    pub(crate) command: XenCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum XenCommand {
    /// Raise a virtual interrupt in a domain
    Virq {
        /// The shared lab
        #[arg(long = "in", value_name = "LAB")]
        in_lab: String,
        /// The domain
        #[arg(long, value_name = "ID", value_parser = number, default_value = "0")]
        domain: u16,
        /// The virtual processor, for VIRQs that are per processor
        #[arg(long, value_name = "N", default_value_t = 0)]
        vcpu: u32,
        /// The VIRQ by name (DOM_EXC, CON_RING, ...) or number
        virq: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Vfio {
    #[command(subcommand)]
    pub(crate) command: VfioCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VfioCommand {
    /// List the devices, with their groups, their drivers, and whether they are in use
    List {
        #[command(flatten)]
        shared: Shared,
    },
    /// Take a device away; one that is in use goes when it has been given back
    Unplug(GiveBack),
    /// Put back a device that was taken away
    Plug(Named),
    /// Bind a driver to a device that has none
    Bind {
        #[command(flatten)]
        device: Named,
        /// The driver: vfio-pci, pci-stub, or the one that the device had at first
        #[arg(value_parser = driver_name)]
        driver: String,
    },
    /// Take a device from its driver; one that is in use goes when it has been given back
    Unbind(GiveBack),
    /// Have a device report an error that it can't correct: the ERR interrupt
    Error(Named),
    /// List the accesses of devices that the IOMMU refused since this was last asked
    Faults {
        #[command(flatten)]
        shared: Shared,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Shared {
    /// The shared lab
    #[arg(long = "in", value_name = "LAB")]
    pub(crate) in_lab: String,
}

/// A device of a shared lab.
#[derive(Debug, Args)]
pub(crate) struct Named {
    #[command(flatten)]
    pub(crate) shared: Shared,
    /// The device, as 0000:00:05.0; the segment may be left out
    #[arg(value_name = "ADDRESS")]
    pub(crate) address: Address,
}

/// A device of a shared lab that is to be given back.
#[derive(Debug, Args)]
#[command(
    after_help = "A program that has the device open is asked for it, again and again, by the REQ interrupt. This \
    command waits until the program has closed it. If it is interrupted, only the waiting ends."
)]
pub(crate) struct GiveBack {
    #[command(flatten)]
    pub(crate) device: Named,
    /// Don't wait until a device that is in use has been given back
    #[arg(long)]
    pub(crate) no_wait: bool,
}

fn number(text: &str) -> Result<u16, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u16::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "expected a number from 0 to 0x7fef".to_owned())
}

fn lab_name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || text.len() > 64 || !text.chars().all(fits) {
        return Err("expected up to 64 letters, digits, `-`, `_` and `.`".to_owned());
    }
    Ok(text.to_owned())
}

fn driver_name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if text.is_empty() || text.len() > 64 || !text.chars().all(fits) {
        return Err("expected a driver's name, as vfio-pci".to_owned());
    }
    Ok(text.to_owned())
}
