//! `routeto dev`: the whole path on this machine, from the request to the record, without an account.
//!
//! - [`exchange`]: one request and all that became of it, as it is kept and shown;
//! - [`gateway`]: API Gateway as a function.

pub mod exchange;
pub mod gateway;
