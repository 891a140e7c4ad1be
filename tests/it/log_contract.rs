//! One suite for every back end of the log, and what only the embedded one must withstand.

#[path = "log_contract/checks.rs"]
mod checks;
#[path = "log_contract/contract.rs"]
mod contract;
#[path = "log_contract/damage.rs"]
mod damage;
#[path = "log_contract/dump.rs"]
mod dump;
#[path = "log_contract/embedded.rs"]
mod embedded;
#[path = "log_contract/faults.rs"]
mod faults;
#[path = "log_contract/full.rs"]
mod full;
#[path = "log_contract/kit.rs"]
mod kit;
