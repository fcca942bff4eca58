//! The driver against a small guest: tables for each ioctl, what becomes of maps, and a naive model.

mod client;
mod copies;
mod fake;
mod ioctls;
mod maps;
mod random;
mod random_copies;
