//! The shapes of the REST interface: bodies → model values, model values → bodies. One file a
//! resource.
//!
//! Must not: know HTTP, the engine or time; every rule that needs one of them gets it as an
//! argument.

pub mod base64;
pub mod field;
pub mod job;
pub mod numbers;
pub mod out;
pub mod report;
pub mod submit;
pub mod task_out;
