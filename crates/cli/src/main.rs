//! `ioctlab`: runs unmodified Linux programs on simulated devices.

mod arguments;
mod control;
mod devices;
mod doctor;
mod lab_file;
mod run;
mod shared;
mod vfio;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

/// The exit status for what goes wrong in ioctlab itself, as `env`, `timeout` and others have it.
const FAILED: u8 = 125;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Run(run) => run::run(&run),
        Command::Up(up) => shared::up(&up),
        Command::Down { name } => shared::down(&name),
        Command::List => shared::list(),
        Command::Xen(xen) => shared::xen(&xen),
        Command::Vfio(arguments) => vfio::vfio(&arguments),
        Command::Devices => devices::print(&mut io::stdout()).map(|()| 0).map_err(|error| error.to_string()),
        Command::Doctor => report(),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(message) => {
            // Nobody is left to tell if this fails.
            let _ = writeln!(io::stderr(), "ioctlab: {message}");
            ExitCode::from(FAILED)
        }
    }
}

fn report() -> Result<u8, String> {
    use ioctlab_host::probe;
    let probes = doctor::Probes {
        seccomp_listener: probe::seccomp_listener(),
        user_namespace: probe::user_namespace(),
        mount_namespace: probe::mount_namespace(),
        fuse: probe::fuse(),
        process_vm_readv: probe::process_vm_readv(),
        ptrace: probe::ptrace(),
        userfaultfd: probe::userfaultfd(),
    };
    let works = doctor::report(&mut io::stdout(), &probes).map_err(|error| error.to_string())?;
    Ok(if works { 0 } else { 1 })
}
