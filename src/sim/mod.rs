//! Floor 2: loads with a known answer. Nothing here knows the engine, so what it finds wrong is
//! wrong.

pub mod curve;
pub mod pricing;
mod random;
