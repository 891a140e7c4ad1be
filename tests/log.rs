//! The log alone: contract suite and the faults of the embedded back end.

#[path = "it/log_contract.rs"]
mod log_contract;
