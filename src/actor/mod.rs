//! Floor 3: actix shells that move bytes between the API, the pure core and the log. No decisions
//! here.

pub mod away;
pub mod bodies;
pub mod endings;
pub mod feed;
pub mod handle;
pub mod members;
pub mod node;
pub mod request;
pub mod running;
pub mod shard;
pub mod simulation;

#[cfg(feature = "kafka")]
pub mod carrier;
#[cfg(feature = "kafka")]
pub mod commands;
mod control;
mod engine;
mod envelope;
mod gate;
mod guards;
mod handle_beats;
mod handle_breakdown;
mod handle_explain;
mod handle_jobs;
mod handle_operations;
mod handle_retire;
mod handle_stats;
pub mod handle_submit;
mod handle_tasks;
pub mod handle_work;
mod handle_workers;
mod hub;
mod ids;
#[cfg(feature = "kafka")]
pub mod inbox;
mod outcome;
mod ownership;
mod pace;
mod partition;
mod peers;
mod publish;
mod recovery;
mod restarts;
mod sampler;
mod scoped;
mod slot;
mod standby;
mod takeover;
mod tracker;
