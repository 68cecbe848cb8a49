//! `routeto dev`: the whole path on this machine, from the request to the record, without an account.
//!
//! - [`exchange`]: one request and all that became of it, as it is kept and shown;
//! - [`store`]: the local S3 and SQS that records go to.

pub mod exchange;
pub mod store;
