//! The inspector: its page driven in a headless Chromium, and its doors knocked at without one.
//!
//! Before it stands a `dev` that is no gateway: it records what it is sent as if it had walked the
//! whole path.
#![allow(clippy::unwrap_used)]

mod browser;
mod doors;
mod fake;
mod page;
mod real;
