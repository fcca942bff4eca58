//! The core against a small machine: tables for each call, the recorded transcripts, and a naive model.

mod containers;
mod devices;
mod external;
mod fake;
mod groups;
#[path = "../../../../tests/support/memory.rs"]
mod memory;
mod model;
mod noiommu;
mod oracle;
mod oracle_group;
mod program;
mod random;
mod removal;
