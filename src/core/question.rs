//! Questions to a partition and what answers them. Changes nothing.
//!
//! Who holds the partition asks with the question's own type ([`Ask`]) and gets its own answer;
//! [`answer`] is for a question of any kind that came from a peer.

use crate::core::job::JobRow;
use crate::core::partition::Partition;
use crate::model::access::Scopes;
use crate::model::explain::Standing;
use crate::model::id::{Name, TaskSeq};
use crate::model::key::KeyAnswer;
use crate::model::lease::LeaseToken;
use crate::model::limits::WAIT_BUCKETS;
use crate::model::operation::{OpNo, Operation};
use crate::model::question::{
    Answered, Asked, Candidates, DeadAmong, FirstKey, Holder, Holders, JobPart, JobParts, JobsOver,
    LeasedJobs, LeasedTask, LiveToken, Numbers, OperationNumbers, Operations, OverRule,
    PartNumbers, PartOfJob, Pauses, Pending, PurgedId, PurgedJob, Question, Recall, Referred,
    Retold, ShortestLeases, StandingOf, StateHash, ToldLeases, WorkerHere,
};
use crate::model::reject::Reject;
use crate::model::state::TaskState;
use crate::model::task::TaskSpec;
use crate::model::time::WallMs;
use crate::model::view::JobNumbers;
use crate::model::worker::HeldTask;

/// A question that a partition can be asked.
pub trait Ask: Asked {
    /// What this partition answers.
    fn ask(self, partition: &Partition) -> Self::Answer;
}

/// Answers a question of any kind.
#[must_use]
pub fn answer(partition: &Partition, question: Question) -> Answered {
    let p = partition;
    match question {
        Question::FirstKey(q) => Answered::FirstKey(q.ask(p)),
        Question::Pending(q) => Answered::Pending(q.ask(p)),
        Question::Numbers(q) => Answered::Numbers(q.ask(p)),
        Question::Holders(q) => Answered::Holders(q.ask(p)),
        Question::WorkerHere(q) => Answered::WorkerHere(q.ask(p)),
        Question::StateHash(q) => Answered::StateHash(q.ask(p)),
        Question::StandingOf(q) => Answered::StandingOf(q.ask(p)),
        Question::Pauses(q) => Answered::Pauses(q.ask(p)),
        Question::ShortestLeases(q) => Answered::ShortestLeases(q.ask(p)),
        Question::Operations(q) => Answered::Operations(q.ask(p)),
        Question::OperationNumbers(q) => Answered::OperationNumbers(q.ask(p)),
        Question::DeadAmong(q) => Answered::DeadAmong(q.ask(p)),
        Question::JobsOver(q) => Answered::JobsOver(q.ask(p)),
        Question::PurgedJob(q) => Answered::PurgedJob(q.ask(p)),
        Question::JobParts(q) => Answered::JobParts(q.ask(p)),
        Question::PartOfJob(q) => Answered::PartOfJob(q.ask(p)),
        Question::ToldLeases(q) => Answered::ToldLeases(q.ask(p)),
        Question::LeasedJobs(q) => Answered::LeasedJobs(q.ask(p)),
        Question::Candidates(q) => Answered::Candidates(q.ask(p)),
        Question::LiveToken(q) => Answered::LiveToken(q.ask(p)),
        Question::LeasedTask(q) => Answered::LeasedTask(q.ask(p)),
        Question::Referred(q) => Answered::Referred(q.ask(p)),
        Question::PurgedId(q) => Answered::PurgedId(q.ask(p)),
        Question::Retold(q) => Answered::Retold(q.ask(p)),
        Question::Recall(q) => Answered::Recall(q.ask(p)),
    }
}

impl Ask for FirstKey {
    fn ask(self, partition: &Partition) -> [u64; 2] {
        partition.first_key()
    }
}

impl Ask for Pending {
    fn ask(self, partition: &Partition) -> u64 {
        partition.level_parts().iter().map(|level| level.counts.of(TaskState::Pending)).sum()
    }
}

impl Ask for Numbers {
    fn ask(self, partition: &Partition) -> Box<PartNumbers> {
        let mut waits = [0; WAIT_BUCKETS];
        for level in &partition.stats().waits {
            waits.iter_mut().zip(level).for_each(|(sum, count)| *sum += count);
        }
        let (levels, holders) =
            (partition.level_parts(), partition.lease_holders(&Scopes::default()));
        Box::new(PartNumbers { levels, waits, holders })
    }
}

impl Ask for Holders {
    fn ask(self, partition: &Partition) -> Vec<Holder> {
        partition.lease_holders(&self.scopes)
    }
}

impl Ask for WorkerHere {
    fn ask(self, partition: &Partition) -> (Vec<HeldTask>, Vec<Name>) {
        (partition.held_by(&self.worker), partition.learned_by(&self.worker))
    }
}

impl Ask for StateHash {
    fn ask(self, partition: &Partition) -> String {
        partition.state_hash()
    }
}

impl Ask for StandingOf {
    fn ask(self, partition: &Partition) -> Option<Box<Standing>> {
        partition.standing(self.seq, self.now).map(Box::new)
    }
}

impl Ask for Pauses {
    fn ask(self, partition: &Partition) -> (bool, bool) {
        partition.pauses(&self.job, self.level)
    }
}

impl Ask for ShortestLeases {
    fn ask(self, partition: &Partition) -> (Option<u32>, Option<u32>) {
        partition.shortest_leases(&self.worker, &self.scopes)
    }
}

impl Ask for Operations {
    fn ask(self, partition: &Partition) -> Vec<Operation> {
        partition.operations().cloned().collect()
    }
}

impl Ask for OperationNumbers {
    fn ask(self, partition: &Partition) -> (OpNo, usize) {
        (partition.next_operation(), partition.operations_running())
    }
}

impl Ask for DeadAmong {
    fn ask(self, partition: &Partition) -> (u64, u64) {
        partition.dead_among(&self.tasks)
    }
}

impl Ask for JobsOver {
    fn ask(self, partition: &Partition) -> Vec<Name> {
        let over = |job: &&JobRow| match self.rule {
            OverRule::Retention => {
                job.closed && is_over(&job.numbers, self.now, job.spec.retention_ms)
            }
            OverRule::Idle(ms) => {
                job.implicit && !job.closed && is_over(&job.numbers, self.now, ms)
            }
        };
        let those = partition.job_rows().filter(over).map(|job| job.name.clone());
        those.take(self.max).collect()
    }
}

/// Nothing of it has been live for that long.
#[must_use]
pub fn is_over(numbers: &JobNumbers, now: WallMs, ms: u64) -> bool {
    numbers.counts.live() == 0 && now.since(numbers.drained.max(numbers.created)) >= ms
}

impl Ask for PurgedJob {
    fn ask(self, partition: &Partition) -> bool {
        partition.purged_job(&self.job)
    }
}

impl Ask for JobParts {
    fn ask(self, partition: &Partition) -> (Vec<JobPart>, u64) {
        let parts = partition.job_rows().map(|job| part_of(partition, job)).collect();
        (parts, partition.departed())
    }
}

impl Ask for PartOfJob {
    fn ask(self, partition: &Partition) -> Option<Box<JobPart>> {
        partition.job_row(&self.job).map(|row| Box::new(part_of(partition, row)))
    }
}

fn part_of(partition: &Partition, job: &JobRow) -> JobPart {
    JobPart {
        name: job.name.clone(),
        spec: job.spec.clone(),
        implicit: job.implicit,
        closed: job.closed,
        paused: job.paused,
        cancelled: job.cancel.as_ref().map(|mark| mark.reason.clone()),
        numbers: partition.job_numbers(job),
    }
}

impl Ask for ToldLeases {
    fn ask(self, partition: &Partition) -> Vec<(LeaseToken, Name)> {
        partition.told_leases(&self.worker)
    }
}

impl Ask for LeasedJobs {
    fn ask(self, partition: &Partition) -> Vec<Option<(TaskSeq, Option<Name>)>> {
        self.tokens.iter().map(|token| partition.leased_job(token)).collect()
    }
}

impl Ask for Candidates {
    fn ask(self, partition: &Partition) -> Vec<TaskSeq> {
        match self {
            Self::Id(id) => partition.id_candidates(&id).collect(),
            Self::Element(job, value) => {
                let mut newest_first = partition.elements(&job, value);
                newest_first.reverse();
                newest_first
            }
        }
    }
}

impl Ask for LiveToken {
    fn ask(self, partition: &Partition) -> Option<LeaseToken> {
        partition.live_token(self.seq, self.worker.as_ref())
    }
}

impl Ask for LeasedTask {
    fn ask(self, partition: &Partition) -> Option<TaskSeq> {
        partition.leased_task(&self.token)
    }
}

impl Ask for Referred {
    fn ask(self, partition: &Partition) -> (Option<TaskSeq>, bool) {
        (partition.seq_of(self.reference), partition.purged_reference(self.reference))
    }
}

impl Ask for PurgedId {
    fn ask(self, partition: &Partition) -> bool {
        partition.purged_id(&self.id)
    }
}

impl Ask for Retold {
    fn ask(self, partition: &Partition) -> Option<Box<(TaskSpec, WallMs)>> {
        partition.retold(&self.parts, self.priority, *self.input).map(Box::new)
    }
}

impl Ask for Recall {
    fn ask(self, partition: &Partition) -> Result<Option<Vec<u8>>, Reject> {
        partition.recall(&self.part).map(|answer| match answer {
            Some(KeyAnswer::Note(note)) => Some(note.clone()),
            // Tasks: it is known, and that is all a caller can want to hear here.
            Some(KeyAnswer::Tasks(_)) => Some(Vec::new()),
            Some(KeyAnswer::Free) | None => None,
        })
    }
}

#[cfg(test)]
#[path = "question_tests.rs"]
mod tests;
