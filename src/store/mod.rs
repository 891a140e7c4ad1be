//! Floor 2: where the tracker lives. Rows in pages of 1,024, in memory while they change, in sled
//! between starts.
//!
//! Everything here is derived from the log: on any doubt it is dropped and folded again. Must not:
//! keep state per task in
//! memory beyond the page cache, or decide anything.

pub mod cache;
pub mod meta;
pub mod query;
pub mod rates;
pub mod sled;

mod facade;

pub use facade::{Backing, Error, TaskKey, Tracker};
pub use query::{StoredText, TaskList, TaskTexts};
pub use rates::Rates;
