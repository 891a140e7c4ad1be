//! Explain through the door: the owner says where a task stands, the tracker what is past, and what
//! is known while the owner is away.

use crate::actor::handle::{Answer, KwqHandle};
use crate::actor::handle_tasks::not_found;
use crate::actor::request::{At, Explained, TaskKey};
use crate::core::explain::{Around, Past, explain, explain_away, explain_ended};
use crate::model::id::TaskSeq;
use crate::model::question::{Pauses, StandingOf};
use crate::model::reference::TaskRef;
use crate::model::reject::{Code, Reject};

impl KwqHandle {
    /// Why a task is not running; exact for everything acknowledged before. While its partition is
    /// away a reference is answered by the tracker, with that as a reason.
    ///
    /// # Errors
    /// `task_not_found`; `partition_unavailable` for a client id or an element of an array, which
    /// only the owner can find, and for what the tracker does not know.
    pub async fn explain(&self, key: TaskKey) -> Answer<At<Explained>> {
        let reference = match &key {
            TaskKey::Ref(reference) => Some(*reference),
            TaskKey::Id { .. } => None,
        };
        match (self.explain_at_owner(key).await, reference) {
            (Err(reject), Some(reference)) if reject.code == Code::PartitionUnavailable => {
                self.explain_from_tracker(reference, reject).await
            }
            (answer, _) => answer,
        }
    }

    async fn explain_at_owner(&self, key: TaskKey) -> Answer<At<Explained>> {
        let (partition, seq) = self.find(&key).await?;
        let slot = self.slot_of(partition)?;
        let now = self.now().wall;
        let (standing, _) = self.engine.ask(slot, StandingOf { seq, now }).await?;
        let standing = *standing.ok_or_else(not_found)?;
        // Asked after the owner, so that it knows of everything the owner has said.
        let row = self.tracked(partition, seq).await?.ok_or_else(not_found)?;
        let rate = self.engine.tracker.hand_outs(partition).await?;
        let texts = self.read_texts(vec![row.text()]).await?;
        let spec = texts.into_iter().next().ok_or_else(not_found)?.spec;
        let why = if standing.state.terminal() {
            explain_ended(standing.state, &Past::of(&row), rate)
        } else {
            explain(&standing, &self.around(rate))
        };
        let reference = spec.reference(partition, seq);
        let value = Explained { id: spec.id, reference, partition, why };
        Ok(At { value, positions: self.positions(), lag_ms: 0 })
    }

    /// `refusal` stands where the partition is not away or the tracker does not know the task.
    async fn explain_from_tracker(
        &self,
        reference: TaskRef,
        refusal: Reject,
    ) -> Answer<At<Explained>> {
        let (partition, seq) = (reference.partition, TaskSeq(reference.offset));
        let away = !self.slot_of(partition)?.served();
        if !away || reference.index.is_some() {
            return Err(refusal);
        }
        let row = self.tracked(partition, seq).await?.ok_or(refusal)?;
        if row.submit_priority != reference.priority || !self.scopes.cover(&row.job) {
            return Err(not_found());
        }
        let rate = self.engine.tracker.hand_outs(partition).await?;
        let pauses = Pauses { job: row.job.clone(), level: row.priority };
        // Pauses are in force in all partitions, so any other one knows them.
        let paused = match self.engine.any_slot() {
            Ok(slot) => self.engine.ask(slot, pauses).await,
            Err(nobody) => Err(nobody),
        };
        let paused = paused.map_or((false, false), |(paused, _)| paused);
        let why = explain_away(&row, paused, &self.around(rate));
        // The log may be away with the partition; then the reference names the task.
        let id = self.client_id(partition, seq).await;
        let value = Explained { id, reference, partition, why };
        Ok(At { value, positions: self.positions(), lag_ms: 0 })
    }

    fn around(&self, rate: f64) -> Around {
        let (now, workers) = (self.now().wall, self.engine.has_workers());
        Around { now, workers, rate, away: false }
    }
}
