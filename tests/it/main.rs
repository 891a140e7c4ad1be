//! Black-box tests: the real binary over HTTP against the text of the contract (`api.md`,
//! `semantics.md`, `promises.md`). Must not name a module of the product.

mod support;

mod affinity;
mod ageing;
mod arrays;
mod auth;
mod batch;
mod breakdown;
mod cli;
mod consume;
mod delays;
mod dev;
mod explain;
mod heartbeat;
mod hostile;
mod http_rules;
mod job_control;
mod job_lists;
mod jobs;
mod keyed_arrays;
mod keys;
mod later;
mod leases;
mod long_poll;
mod ndjson;
mod openapi;
mod operations;
mod purge;
mod regressions;
mod restart;
mod retention;
mod retries;
mod seed_defects;
mod seed_routes;
mod simulations;
mod submit;
mod submit_fields;
mod tags;
mod task_lists;
mod tasks;
mod tokens;
mod unique_ids;
mod views;
mod work_process;
mod workers;
