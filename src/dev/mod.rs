//! `routeto dev`: the whole path on this machine, from the request to the record, without an
//! account.
//!
//! - [`anchor`]: whether what was opened is still where it was.
//! - [`exchange`]: one request and all that became of it, as it is kept and shown.
//! - [`gateway`]: API Gateway as a function.
//! - [`home`]: `.routeto/`, its lock and its tokens.
//! - [`inspector`]: the page at `/_routeto`.
//! - [`journal`]: the last thousand exchanges, on disk.
//! - [`mask`]: takes tokens out of what is kept and shown.
//! - [`news`]: the records of a running `dev`, for another process.
//! - [`room`]: how much of large bodies is held at one time.
//! - [`running`]: what a running `dev` leaves in `.routeto/` for other commands.
//! - [`search`]: looks for words in exchanges.
//! - [`server`]: HTTP around the gateway.
//! - [`store`]: the local S3 and SQS that records go to.
//! - [`tape`]: header names as they were sent.
//! - [`watching`]: the stack file and its templates, as they change.

pub mod anchor;
pub mod exchange;
pub mod gateway;
pub mod home;
pub mod inspector;
pub mod journal;
mod mask;
pub mod news;
mod room;
pub mod running;
pub mod search;
pub mod server;
pub mod store;
mod tape;
pub mod watching;

use std::{
    future::{Pending, pending},
    pin::Pin,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::{Timeout, timeout};

/// How long the next piece of a body is waited for.
pub(crate) const PIECE_PATIENCE: Duration = Duration::from_secs(20);

/// Done when it has been waited for long enough.
pub(crate) type Patience = Pin<Box<Timeout<Pending<()>>>>;

pub(crate) fn patience(time: Duration) -> Patience {
    Box::pin(timeout(time, pending()))
}

/// Milliseconds since the epoch.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// As UUIDs are written: `8-4-4-4-12` hexadecimal digits.
pub(crate) fn uuid_text(id: [u8; 16]) -> String {
    let hex = crate::resource::hex(&id);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
