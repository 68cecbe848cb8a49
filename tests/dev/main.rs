//! `routeto dev`: the real binary, real HTTP in both versions, and its own S3 and SQS to read back
//! from.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod bytes;
mod codings;
mod fidelity;
mod harness;
mod hostile;
mod http2;
mod life;
mod memory;
mod recipes;
mod reload;
mod secrets;
