//! The template engine alone, under the name that the bench knows.

#[allow(dead_code)]
#[path = "../../src/vtl/mod.rs"]
pub mod vtl;
