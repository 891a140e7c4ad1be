//! What instances tell each other of themselves ↔ JSON, the value of a record of the topic
//! `<prefix>-cluster`.
//!
//! ```text
//! {"node":"n1","addr":"10.0.0.1:9090","version":"0.1.0","ts":1790000000000,"draining":false,
//!  "waiting":3,"partitions":[{"partition":0,"epoch":7,"position":9,"levels":256,"tasks":12}]}
//! ```
//! Instances of two releases run side by side while a cluster is upgraded: fields are only ever
//! added, and unknown ones are passed over.

use crate::codec::json;
use crate::model::instance::{InstanceState, ServedPartition};
use crate::model::limits;
use crate::model::priority::Priority;
use std::collections::BTreeSet;

/// Why a value tells nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the state of an instance: {0}")]
pub struct Fault(String);

/// Writes a value.
///
/// # Errors
/// It breaks a bound, so that nobody would take it.
pub fn encode(state: &InstanceState) -> Result<Vec<u8>, Fault> {
    check(state)?;
    serde_json::to_vec(state).map_err(|e| Fault(e.to_string()))
}

/// Reads a value.
///
/// # Errors
/// It is no state, or breaks a bound.
pub fn decode(bytes: &[u8]) -> Result<InstanceState, Fault> {
    if bytes.len() > limits::INSTANCE_BYTES_MAX {
        let (have, most) = (bytes.len(), limits::INSTANCE_BYTES_MAX);
        return Err(Fault(format!("{have} B, at most {most} B")));
    }
    // What it says may hold a text of the value, of any length.
    let state = serde_json::from_slice(bytes).map_err(|e| Fault(json::shown(&e.to_string())))?;
    check(&state)?;
    Ok(state)
}

fn check(state: &InstanceState) -> Result<(), Fault> {
    text("node", &state.node, limits::NAME_BYTES_MAX)?;
    text("addr", &state.addr, limits::ENDPOINT_BYTES_MAX)?;
    text("version", &state.version, limits::VERSION_BYTES_MAX)?;
    let (have, most) = (state.partitions.len(), usize::from(limits::PARTITIONS_MAX));
    if have > most {
        return Err(Fault(format!("{have} partitions, at most {most}")));
    }
    let mut seen = BTreeSet::new();
    for served in &state.partitions {
        partition(served)?;
        if !seen.insert(served.partition) {
            return Err(Fault(format!("partition {} is named twice", served.partition)));
        }
    }
    Ok(())
}

fn text(field: &str, value: &str, most: usize) -> Result<(), Fault> {
    if !(1..=most).contains(&value.len()) {
        return Err(Fault(format!("{field} must have 1 to {most} bytes")));
    }
    if value.chars().any(char::is_control) {
        return Err(Fault(format!("{field} must not hold control characters")));
    }
    Ok(())
}

fn partition(served: &ServedPartition) -> Result<(), Fault> {
    let id = served.partition;
    if id.0 >= limits::PARTITIONS_MAX {
        return Err(Fault(format!("there is no partition {id}")));
    }
    if served.levels >> Priority::LEVELS != 0 {
        return Err(Fault(format!("partition {id} has levels nobody knows: {:#b}", served.levels)));
    }
    Ok(())
}

#[cfg(test)]
#[path = "instance_tests.rs"]
mod tests;
