//! Floor 2: where the tracker lives. Rows in pages of 1,024, in memory while they change, in sled
//! between starts.
//!
//! ```text
//!   Tracker ─► cache, details, names, marks ─► Vault (checksums) ─► TrackerStore: memory │ sled
//! ```
//! Everything here is derived from the log: on any doubt it is dropped and folded again. Must not:
//! keep state per task in memory beyond the bounded caches, or decide anything.

#[cfg(feature = "server")]
pub mod audit;
pub mod block;
pub mod breakdown;
pub mod cache;
pub mod counts;
mod delays;
pub mod details;
pub mod endings;
pub mod ledger;
pub mod memory;
pub mod purge;
pub mod query;
pub mod rates;
pub mod select;
pub mod series;
pub mod shelf;
#[cfg(feature = "server")]
pub mod sled;
mod tagfilter;
pub mod tagsets;
pub mod vault;
pub mod waiting;
pub mod walk;

mod facade;
mod inner;
mod proven;

pub use block::{BlockKey, Error, Kind, TrackerStore};
pub use endings::CancelRecord;
pub use facade::Tracker;
pub use query::{StoredText, TaskList, TaskTexts};
pub use rates::Rates;
pub use select::Selected;

#[cfg(all(test, feature = "server"))]
mod contract_tests;
#[cfg(all(test, feature = "server"))]
mod counts_tests;
#[cfg(all(test, feature = "server"))]
mod damage_tests;
#[cfg(all(test, feature = "server"))]
mod disk_tests;
#[cfg(all(test, feature = "server"))]
mod naive_tests;
#[cfg(all(test, feature = "server"))]
mod order_tests;
#[cfg(all(test, feature = "server"))]
mod purge_tests;
#[cfg(all(test, feature = "server"))]
mod tagfilter_tests;
#[cfg(all(test, feature = "server"))]
mod test_rig;
