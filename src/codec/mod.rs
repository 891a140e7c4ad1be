//! Floor 1: values ↔ bytes. Formats are versioned and pinned by golden files.
//!
//! Must not: do I/O, read a clock, log, trust a length it has read.

#[cfg(feature = "server")]
pub mod audit;
pub mod bytes;
#[cfg(feature = "kafka")]
pub mod changelog;
#[cfg(feature = "server")]
pub mod digest;
pub mod dump;
pub mod event;
#[cfg(feature = "kafka")]
pub mod feed;
pub mod frame;
pub mod image;
#[cfg(feature = "server")]
pub mod inbox;
pub mod instance;
pub mod json;
#[cfg(feature = "kafka")]
pub mod left;
pub mod page;
pub mod peer;
#[cfg(feature = "server")]
pub mod pricing;
#[cfg(feature = "server")]
pub mod schema;
pub mod stored;
#[cfg(feature = "server")]
pub mod tokens;
#[cfg(feature = "server")]
pub mod wire;
#[cfg(feature = "server")]
pub mod yaml;

/// Bytes that are not what the format says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub struct Malformed(pub &'static str);
