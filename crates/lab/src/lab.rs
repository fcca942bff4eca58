//! A lab, wired up.

use std::sync::Arc;

use ioctlab_kernel::{Kernel, MachineMemory, Subsystem, Tree};

use crate::config;
use crate::xen::{XenHost, XenRequest};

/// The machines and drivers of a lab file, ready to be served.
pub struct Lab {
    xen: Option<XenHost>,
}

/// Something done to a lab's machines from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// To the Xen host.
    Xen(XenRequest),
}

impl Lab {
    /// Sets up what a lab file describes: the lab, to act on it from outside, and the kernel, to serve. Its machines have
    /// `memory`.
    ///
    /// # Errors
    /// A sentence that says what can't be had, and why.
    pub fn new(
        config: &config::Lab,
        memory: &(impl MachineMemory + Clone + 'static),
    ) -> Result<(Self, Kernel), String> {
        let mut subsystems: Vec<Box<dyn Subsystem>> = Vec::new();
        let mut nodes = Vec::new();
        let mut lab = Self { xen: None };
        if let Some(xen) = &config.xen {
            let host = XenHost::new(xen, Box::new(memory.clone()))?;
            nodes.extend(XenHost::nodes(xen, subsystems.len()));
            lab.xen = Some(host.handle());
            subsystems.push(Box::new(host));
        }
        Ok((lab, Kernel::new(subsystems, nodes)))
    }

    /// What there is of the lab's machines in `/sys`: of a Xen host nothing that programs look for.
    pub fn trees(&self) -> Vec<Arc<dyn Tree>> {
        Vec::new()
    }

    /// Does something from outside. What it makes readable is shown by the host's next look at the kernel's effects.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn act(&self, request: &Request) -> Result<(), String> {
        match request {
            Request::Xen(request) => self.xen.as_ref().ok_or("the lab has no [xen]")?.act(request),
        }
    }
}
