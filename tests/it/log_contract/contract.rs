//! The contract on every back end of one machine.

use super::checks::contract;
use super::kit::*;
use kwq::log::EventLog;
use kwq::log::embedded::Durability;
use kwq::log::faulty::FaultyLog;
use kwq::log::memory::MemoryLog;

/// Runs a check on every back end.
fn each(check: fn(&dyn EventLog)) {
    check(&MemoryLog::new());
    check(&FaultyLog::new(MemoryLog::new()));
    for durability in [Durability::Fsync, Durability::Os, Durability::Memory] {
        let dir = TempDir::new();
        check(&open_as(dir.path(), durability));
    }
}

contract!(each);
