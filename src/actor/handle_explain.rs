//! Explain through the door: the owner says where a task stands, the tracker what is past.

use crate::actor::handle::{Answer, KwqHandle};
use crate::actor::handle_tasks::not_found;
use crate::actor::request::{At, Explained, TaskKey};
use crate::core::explain::{Around, Past, explain, explain_ended};
use crate::core::partition::Partition;

impl KwqHandle {
    /// Why a task is not running; exact for everything acknowledged before.
    ///
    /// # Errors
    /// `task_not_found`; its partition is away.
    pub async fn explain(&self, key: TaskKey) -> Answer<At<Explained>> {
        let (partition, seq) = self.find(&key).await?;
        let slot = self.slot_of(partition)?;
        let now = self.now().wall;
        let read = move |p: &Partition| p.standing(seq, now);
        let (standing, _) = self.engine.inspect(slot, read).await?;
        let standing = standing.ok_or_else(not_found)?;
        // Asked after the owner, so that it knows of everything the owner has said.
        let row = self.tracked(partition, seq).await?.ok_or_else(not_found)?;
        let rate = self.engine.tracker.hand_outs(partition).await?;
        let texts = self.read_texts(vec![(row.record, row.index)]).await?;
        let spec = texts.into_iter().next().ok_or_else(not_found)?.spec;
        let why = if standing.state.terminal() {
            let past = Past {
                priority: row.priority,
                available: row.available,
                allocated: row.allocated,
                ended: row.ended,
            };
            explain_ended(standing.state, &past, rate)
        } else {
            let workers = self.engine.has_workers();
            explain(&standing, &Around { now, workers, rate })
        };
        let reference = spec.reference(partition, seq);
        let value = Explained { id: spec.id, reference, partition, why };
        Ok(At { value, positions: self.positions(), lag_ms: 0 })
    }
}
