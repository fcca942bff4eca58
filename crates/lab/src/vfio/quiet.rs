//! Waiting for devices to have done with memory that was taken away from them.

use std::sync::Arc;

use ioctlab_kernel::{Caller, Errno, Work};

use super::dma::SharedDomain;

/// The end of a call that has unmapped something.
pub(super) struct Quiet {
    domains: Vec<Arc<SharedDomain>>,
    result: Result<i64, Errno>,
}

impl Quiet {
    /// Returns `result` once nothing is being moved in these domains that began before.
    pub(super) fn new(domains: Vec<Arc<SharedDomain>>, result: Result<i64, Errno>) -> Self {
        Self { domains, result }
    }
}

impl Work for Quiet {
    fn run(&mut self) {
        self.domains.iter().for_each(|domain| domain.quiesce());
    }

    fn finish(self: Box<Self>, _: &mut dyn Caller) -> Result<i64, Errno> {
        self.result
    }
}
