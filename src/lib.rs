//! kwq: a compute-grid dispatcher and task tracker.
//!
//! ```text
//!  6 cli  main          5 node          4 api          3 actor
//!  2 log  store  client  sim
//!  1 codec  core  config  metrics  telemetry  clock
//!  0 model
//! ```
//! A module names only modules on lower floors; `tests/tidy.rs` holds the fence.

pub mod model;

#[cfg(feature = "server")]
pub mod clock;
pub mod codec;
#[cfg(feature = "server")]
pub mod config;
pub mod core;
#[cfg(feature = "server")]
pub mod metrics;
#[cfg(feature = "server")]
pub mod telemetry;

#[cfg(feature = "server")]
pub mod client;
pub mod log;
#[cfg(feature = "server")]
pub mod sim;
#[cfg(feature = "server")]
pub mod store;

#[cfg(feature = "server")]
pub mod actor;
#[cfg(feature = "server")]
pub mod api;
#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "server")]
pub mod node;
