//! Floor 4: HTTP. Our own accept loop in front, warp as the service, handlers that only translate.
//!
//! Must not: decide anything about tasks, or keep state beyond a connection.

pub mod context;
pub mod serve;

mod answer;
pub(crate) mod assets;
mod call;
mod cluster;
mod consume;
mod cursor;
mod jobs;
mod route_name;
mod routes;
mod seed;
mod stats;
mod submit;
mod tasks;
mod workers;
