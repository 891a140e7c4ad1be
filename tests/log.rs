//! The log alone: contract suite and the faults of the embedded back end.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::type_complexity,
    reason = "a test that cannot go on should say where"
)]

#[path = "it/log_contract.rs"]
mod log_contract;
