//! kwq: a compute-grid dispatcher and task tracker.

pub mod model;

#[cfg(feature = "server")]
pub mod clock;
pub mod codec;

#[cfg(feature = "server")]
pub mod actor;
pub mod log;
#[cfg(feature = "server")]
pub mod sim;
