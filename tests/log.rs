//! The log alone: contract suite and the faults of the embedded back end.

#[cfg(test)]
#[path = "it/log_contract.rs"]
mod log_contract;
