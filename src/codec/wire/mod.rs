//! The shapes of the REST interface: bodies → model values, model values → bodies. One file a
//! resource.
//!
//! Must not: know HTTP, the engine or time; every rule that needs one of them gets it as an
//! argument.

pub mod array;
pub mod base64;
pub mod breakdown;
pub mod cluster;
pub mod consume;
pub mod ending;
pub mod explain;
pub mod field;
pub mod job;
pub mod operation;
pub mod out;
pub mod report;
pub mod seed;
pub mod simulation;
pub mod sse;
pub mod stats;
pub mod submit;
pub mod task;
pub mod task_out;
pub mod worker;
