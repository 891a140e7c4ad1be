//! Floor 0: the vocabulary of kwq. Plain values without behaviour beyond parsing, ordering and
//! bounds.
//!
//! Must not: do I/O, read a clock, log, or know any other module of the crate.

pub mod access;
pub mod affinity;
pub mod array;
pub mod breakdown;
pub mod command;
pub mod dead;
pub mod ending;
pub mod event;
pub mod explain;
pub mod feed;
pub mod id;
pub mod instance;
pub mod job;
pub mod key;
pub mod lease;
pub mod limits;
pub mod operation;
pub mod place;
pub mod policy;
pub mod priority;
pub mod question;
pub mod reference;
pub mod reject;
pub mod reply;
pub mod report;
pub mod row;
#[cfg(test)]
pub(crate) mod samples;
pub mod simulation;
pub mod state;
pub mod tags;
pub mod task;
pub mod time;
pub mod view;
pub mod worker;
