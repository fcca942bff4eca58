//! From a lab file (or none) to a lab.

use std::path::Path;
use std::sync::Arc;

use ioctlab_host::Memory;
use ioctlab_lab::{Memories, config};

/// Reads a lab file, or the built-in one.
///
/// # Errors
/// The whole report on what is wrong with it.
pub(crate) fn load(path: Option<&Path>) -> Result<config::Lab, String> {
    let lab = match path {
        Some(path) => config::Lab::load(path),
        None => config::Lab::built_in(),
    };
    lab.map_err(|errors| format!("the lab file can't be used:\n{errors}"))
}

/// The domain to run as: the one that was asked for, if the lab has it, or the lab's default.
///
/// # Errors
/// A sentence that names the domains that there are.
pub(crate) fn domain(config: &config::Lab, asked: Option<u16>) -> Result<u16, String> {
    let Some(xen) = &config.xen else {
        return match asked {
            Some(_) => Err("the lab has no Xen domains, so `--domain` means nothing".to_owned()),
            None => Ok(0),
        };
    };
    let default = config.default_domain().map_or(0, |domain| domain.id);
    let domain = asked.unwrap_or(default);
    if xen.domain(domain).is_some() {
        return Ok(domain);
    }
    let ids: Vec<String> = xen.domains.iter().map(|domain| domain.id.to_string()).collect();
    Err(format!("the lab has no domain {domain}; it has {}", ids.join(", ")))
}

/// What a lab's machines work on: the host's memories.
pub(crate) fn memories(memory: &Memory) -> Memories {
    Memories {
        machine: Box::new(memory.clone()),
        devices: Arc::new(memory.areas().clone()),
        programs: Arc::new(memory.programs().clone()),
    }
}
