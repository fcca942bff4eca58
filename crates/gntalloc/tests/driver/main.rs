//! The driver against a small guest: tables for each ioctl, what becomes of pages, and a naive model.

mod fake;
mod ioctls;
mod pages;
mod random;
