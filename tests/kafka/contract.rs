//! The contract of the log on the real broker.

use crate::broker::{open, options, prefix};
use crate::log_contract::checks::contract;
use crate::log_contract::kit::TempDir;
use kwq::log::EventLog;

fn on_kafka(check: fn(&dyn EventLog)) {
    let dir = TempDir::new();
    check(&open(&options(&prefix(), &dir)));
}

contract!(crate::contract::on_kafka);
