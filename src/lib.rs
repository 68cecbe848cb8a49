//! routeto: one YAML file in, and in the user's own AWS account stands what takes webhooks and keeps every one of them.

pub mod diagnostic;
pub mod error;
pub mod spec;
pub mod vtl;
