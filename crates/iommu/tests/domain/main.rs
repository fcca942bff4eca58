//! Domains: tables of what is refused and translated, and a naive map of pages; and the log of faults.

mod faults;
mod random;
mod tables;
