//! routeto: one YAML file in, and in the user's own AWS account stands what takes webhooks and keeps every one of them.

pub mod desired;
pub mod diagnostic;
pub mod error;
pub mod observed;
pub mod openapi;
pub mod plan;
pub mod policy;
pub mod resource;
pub mod spec;
