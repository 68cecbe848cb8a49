//! `routeto dev`: the whole path on this machine, from the request to the record, without an account.
//!
//! - [`exchange`]: one request and all that became of it, as it is kept and shown.
//! - [`journal`]: the last thousand of them, on disk.
//! - [`inspector`]: the page at `/_routeto`.
//! - [`running`]: what a running `dev` leaves in `.routeto/` for other commands.

pub mod exchange;
pub mod inspector;
pub mod journal;
pub mod running;
