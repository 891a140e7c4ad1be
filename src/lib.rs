//! kwq: a compute-grid dispatcher and task tracker.

pub mod model;

#[cfg(feature = "server")]
pub mod clock;
pub mod codec;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod metrics;
#[cfg(feature = "server")]
pub mod telemetry;

#[cfg(feature = "server")]
pub mod actor;
pub mod log;
