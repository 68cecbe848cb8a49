//! End to end: the real binary deploys the real function into the emulator, real requests are
//! POSTed, and real clients read back what was stored.
//!
//! One binary with a module per subject: each test binary links the whole SDK.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod bodies;
mod delays;
mod drift;
mod everything;
mod failures;
mod faults;
mod harness;
mod hostile;
mod iam;
mod mistakes;
mod recipes;
mod requests;
mod resources;
mod rollback;
mod samples;
mod speed;
mod stages;
mod terminal;
mod together;
mod tokens;
