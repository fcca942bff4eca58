//! A lab, wired up.

use std::sync::Arc;

use ioctlab_kernel::{DeviceMemory, Kernel, MachineMemory, ProgramMemory, Subsystem, Tree};

use crate::config;
use crate::vfio::{VfioHost, VfioRequest};
use crate::xen::{XenHost, XenRequest};

/// The machines and drivers of a lab file, ready to be served.
pub struct Lab {
    xen: Option<XenHost>,
    vfio: Option<VfioHost>,
}

/// The bytes that a lab's machines work on: whoever serves it has them.
pub struct Memories {
    /// The memory of machines that share it with their guests.
    pub machine: Box<dyn MachineMemory>,
    /// The memory of devices.
    pub devices: Arc<dyn DeviceMemory>,
    /// The memory of programs, as devices reach it.
    pub programs: Arc<dyn ProgramMemory>,
}

/// Something done to a lab's machines from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// To the Xen host.
    Xen(XenRequest),
    /// To the machine with VFIO.
    Vfio(VfioRequest),
}

impl Lab {
    /// Sets up what a lab file describes: the lab, to act on it from outside, and the kernel, to serve. Its machines have
    /// these memories.
    ///
    /// # Errors
    /// A sentence that says what can't be had, and why.
    pub fn new(config: &config::Lab, memories: Memories) -> Result<(Self, Kernel), String> {
        let mut subsystems: Vec<Box<dyn Subsystem>> = Vec::new();
        let mut nodes = Vec::new();
        let mut lab = Self { xen: None, vfio: None };
        let Memories { machine, devices, programs } = memories;
        if let Some(xen) = &config.xen {
            let host = XenHost::new(xen, machine)?;
            nodes.extend(XenHost::nodes(xen, subsystems.len()));
            lab.xen = Some(host.handle());
            subsystems.push(Box::new(host));
        }
        if let Some(vfio) = &config.vfio {
            let host = VfioHost::new(vfio, devices, programs)?;
            nodes.extend(host.nodes(subsystems.len()));
            lab.vfio = Some(host.clone());
            subsystems.push(Box::new(host));
        }
        Ok((lab, Kernel::new(subsystems, nodes)))
    }

    /// Its parts of sysfs.
    pub fn trees(&self) -> Vec<Arc<dyn Tree>> {
        self.vfio.iter().map(VfioHost::tree).collect()
    }

    /// Does something from outside. What it brings about is done by the host's next look at the kernel's effects. The answer is text for
    /// people; it may be empty.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn act(&self, request: &Request) -> Result<String, String> {
        match request {
            Request::Xen(request) => {
                self.xen.as_ref().ok_or("the lab has no [xen]")?.act(request).map(|()| String::new())
            }
            Request::Vfio(request) => self.vfio.as_ref().ok_or("the lab has no [vfio]")?.act(request),
        }
    }
}
