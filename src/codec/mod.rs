//! Floor 1: values ↔ bytes. Formats are versioned and pinned by golden files.

#[cfg(feature = "server")]
pub mod pricing;
