//! Floor 2: loads with a known answer. Nothing here knows the engine, so what it finds wrong is
//! wrong.

pub mod curve;
pub mod draws;
pub mod idle;
pub mod keys;
pub mod pricing;
mod random;
pub mod report;
pub mod tally;
pub mod wire;
pub mod workload;
