//! What the node says about itself: identity, partitions, readiness.

use crate::codec::wire::out::Out;

/// `durability` and its reasons; they always stand together.
pub fn durability(out: &mut Out, reasons: &[String]) {
    out.str("durability", if reasons.is_empty() { "full" } else { "reduced" });
    out.list("durabilityReasons");
    reasons.iter().for_each(|reason| out.text(reason));
    out.close_list();
}

/// A partition as `GET /kwq/cluster` shows it.
#[derive(Clone, Copy, Debug)]
pub struct Partition<'a> {
    /// Number.
    pub partition: u16,
    /// Owning node.
    pub owner: &'a str,
    /// Epoch.
    pub epoch: u64,
    /// `READY`, `REPLAYING`, `FAILED`.
    pub state: &'a str,
    /// Durable position.
    pub position: u64,
    /// 0…1.
    pub replay: f64,
    /// PENDING tasks.
    pub pending: u64,
}

/// A row of `partitions`. Epoch and position are strings, as everywhere.
pub fn partition(out: &mut Out, row: &Partition<'_>) {
    out.open();
    out.num("partition", row.partition);
    out.str("owner", row.owner);
    out.shown("epoch", row.epoch);
    out.str("state", row.state);
    out.shown("position", row.position);
    out.float("replayPercent", row.replay * 100.0, 1);
    out.float("indexPercent", 100.0, 1);
    out.num("pending", row.pending);
    out.close();
}
