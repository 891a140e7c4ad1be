//! Floor 1: the pure partition. State machine, order, leases, timers; no clock, I/O, async,
//! threads, chance or logging.
//!
//! `partition` decides, `apply` applies; every structure has its own file. `crate::core` is always
//! written in full, Rust's
//! own is `std`.

pub mod admit;
pub mod affinity;
pub mod ageing;
pub mod apply;
pub mod apply_job;
pub mod apply_submitted;
pub mod bitmap;
pub mod changes;
pub mod dead;
pub mod explain;
pub mod fresh;
pub mod gone;
pub mod hash;
pub mod idindex;
pub mod image;
pub mod inbox;
pub mod intern;
pub mod job;
pub mod jobs;
pub mod keys;
pub mod lanes;
pub mod lease;
pub mod map;
pub mod operations;
pub mod partition;
pub mod pick;
pub mod posting;
pub mod purge;
pub mod query;
pub mod question;
pub mod reports;
pub mod retry;
pub mod rows;
pub mod sip;
pub mod stats;
pub mod submit;
pub mod tally;
pub mod timers;
pub mod tracker;
pub mod unique;
pub mod wheel;
pub mod workers;
