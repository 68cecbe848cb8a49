//! Dev's local S3 and SQS: real clients against it on a free port, the function's own sinks inside
//! the process, and what a kill leaves.

#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod boto;
mod cli;
mod crash;
mod durability;
mod hostile;
mod place;
mod queues;
mod sinks;
