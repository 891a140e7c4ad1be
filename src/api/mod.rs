//! Floor 4: HTTP in front of the engine. Handlers translate; they decide nothing.
//!
//! ```text
//!   acceptor ─ deals ─► shard runtimes ─ http1 ─► front ─ hot verbs ──► handlers ─► KwqHandle
//!                                                   └─ warp filters ─┘
//! ```
//! Must not: name actix, hold state of tasks, or read a body past its limit.

mod answer;
pub(crate) mod assets;
mod audit;
mod auth;
mod batch;
mod breakdown;
mod call;
mod cluster;
mod consume;
mod context;
mod create;
mod cursor;
mod delivery;
mod documents;
mod events;
mod front;
mod gate;
mod head;
mod hot;
mod idempotency;
pub mod internal;
mod io;
mod jobs;
mod ndjson;
mod openapi;
mod operations;
mod problem;
mod query;
mod queues;
mod results;
mod route;
mod routes;
mod seed;
mod series;
pub mod serve;
mod simulations;
mod sse;
mod stream;
mod submit;
mod tasks;
mod workers;

pub use auth::Guard;
pub use context::ApiContext;

#[cfg(test)]
mod tests;
