//! `ioctlab vfio`: acting on the PCI devices of a shared lab from outside.

use std::io::{self, Write};
use std::time::Duration;

use ioctlab_lab::VfioRequest;

use crate::arguments::{GiveBack, Named, Vfio, VfioCommand};
use crate::control::{self, Connection};
use crate::run::plain;

/// How often it is asked whether a device has been given back.
const PERIOD: Duration = Duration::from_millis(50);

/// Acts on a lab's PCI devices.
///
/// # Errors
/// What the lab has against it.
pub(crate) fn vfio(arguments: &Vfio) -> Result<u8, String> {
    let address = |device: &Named| device.address.to_string();
    let (shared, request, waits) = match &arguments.command {
        VfioCommand::List { shared } => (shared, VfioRequest::List, None),
        VfioCommand::Faults { shared } => (shared, VfioRequest::Faults, None),
        VfioCommand::Plug(device) => (&device.shared, VfioRequest::Plug(address(device)), None),
        VfioCommand::Error(device) => (&device.shared, VfioRequest::Error(address(device)), None),
        VfioCommand::Bind { device, driver } => {
            (&device.shared, VfioRequest::Bind(address(device), driver.clone()), None)
        }
        VfioCommand::Unplug(GiveBack { device, no_wait }) => {
            (&device.shared, VfioRequest::Unplug(address(device)), (!no_wait).then(|| address(device)))
        }
        VfioCommand::Unbind(GiveBack { device, no_wait }) => {
            (&device.shared, VfioRequest::Unbind(address(device)), (!no_wait).then(|| address(device)))
        }
    };
    let lab = control::connect(&shared.in_lab)?;
    let answer = lab.ask(&write(&request))?;
    say(&answer)?;
    if let Some(device) = waits.filter(|_| !answer.is_empty()) {
        wait(&lab, &device)?;
    }
    Ok(0)
}

fn say(text: &str) -> Result<(), String> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| plain(&error))
}

/// Waits until a device has been given back.
fn wait(lab: &Connection, device: &str) -> Result<(), String> {
    let asked = write(&VfioRequest::Waits(device.to_owned()));
    while !lab.ask(&asked)?.is_empty() {
        std::thread::sleep(PERIOD);
    }
    Ok(())
}

/// A request, as a message to the lab's server.
fn write(request: &VfioRequest) -> String {
    match request {
        VfioRequest::List => "vfio list".to_owned(),
        VfioRequest::Faults => "vfio faults".to_owned(),
        VfioRequest::Unplug(device) => format!("vfio unplug {device}"),
        VfioRequest::Plug(device) => format!("vfio plug {device}"),
        VfioRequest::Unbind(device) => format!("vfio unbind {device}"),
        VfioRequest::Error(device) => format!("vfio error {device}"),
        VfioRequest::Waits(device) => format!("vfio waits {device}"),
        VfioRequest::Bind(device, driver) => format!("vfio bind {device} {driver}"),
    }
}

/// The request that a message is; `None` if it is none.
pub(crate) fn read(message: &str) -> Option<VfioRequest> {
    let words: Vec<&str> = message.split(' ').collect();
    Some(match *words {
        ["vfio", "list"] => VfioRequest::List,
        ["vfio", "faults"] => VfioRequest::Faults,
        ["vfio", "unplug", device] => VfioRequest::Unplug(device.to_owned()),
        ["vfio", "plug", device] => VfioRequest::Plug(device.to_owned()),
        ["vfio", "unbind", device] => VfioRequest::Unbind(device.to_owned()),
        ["vfio", "error", device] => VfioRequest::Error(device.to_owned()),
        ["vfio", "waits", device] => VfioRequest::Waits(device.to_owned()),
        ["vfio", "bind", device, driver] => VfioRequest::Bind(device.to_owned(), driver.to_owned()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_are_written() {
        let device = || "0000:00:05.0".to_owned();
        let requests = [
            VfioRequest::List,
            VfioRequest::Faults,
            VfioRequest::Unplug(device()),
            VfioRequest::Plug(device()),
            VfioRequest::Unbind(device()),
            VfioRequest::Error(device()),
            VfioRequest::Waits(device()),
            VfioRequest::Bind(device(), "e1000".to_owned()),
        ];
        for request in requests {
            assert_eq!(read(&write(&request)), Some(request));
        }
        for message in ["vfio", "vfio list all", "vfio plug", "vfio bind 0000:00:05.0", "virq 0 0 TIMER", ""]
        {
            assert_eq!(read(message), None, "{message}");
        }
    }
}
