//! End to end: the real binary deploys the real function into the emulator, real requests are POSTed, and real clients read back what was stored.
//!
//! One binary with a module per subject: each test binary links the whole SDK.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod bodies;
mod everything;
mod failures;
mod harness;
mod hostile;
mod iam;
mod mistakes;
mod recipes;
mod requests;
mod resources;
mod samples;
mod stages;
mod tokens;
