//! Admission: defaults of the job and the policy are filled in, then the tasks of one call become
//! one event.

use crate::core::keys;
use crate::core::map::{self, Map};
use crate::core::partition::Partition;
use crate::core::unique::{self, UniqueTask};
use crate::model::event::{Event, Stamped};
use crate::model::id::{Name, PartitionId, Position, TaskSeq};
use crate::model::job::{DEFAULT_JOB, Dedup, JobDefaults, JobSpec};
use crate::model::key::{Frees, Hash128, KeyAnswer, KeyPart, KeyedSubmit};
use crate::model::policy::{Backoff, Policy};
use crate::model::priority::Priority;
use crate::model::reference::TaskRef;
use crate::model::reject::{Code, Reject};
use crate::model::reply::{Admitted, Elsewhere, Reply, Submitted};
use crate::model::tags::TagSet;
use crate::model::task::{BackoffInput, Delay, TaskInput, TaskSpec};
use crate::model::time::WallMs;
use std::collections::BTreeMap;

/// What is gathered while the tasks of one call are looked at.
struct Round {
    first: TaskSeq,
    tasks: Vec<TaskSpec>,
    /// Unique ids of `tasks`, which the index learns only when they are applied.
    fresh: Map<Hash128, UniqueTask>,
    duplicates: BTreeMap<Name, u32>,
}

/// What one task comes to.
enum Admission {
    New(TaskSpec),
    Known(UniqueTask),
    Elsewhere(PartitionId, TaskInput),
}

impl Partition {
    pub(crate) fn submit(
        &mut self,
        inputs: Vec<TaskInput>,
        until_refused: bool,
        events: &mut Vec<Stamped>,
    ) -> Submitted {
        let mut round = Round {
            first: self.rows.next(),
            tasks: Vec::with_capacity(inputs.len()),
            fresh: map::new(),
            duplicates: BTreeMap::new(),
        };
        let mut answer = Submitted { outcomes: Vec::with_capacity(inputs.len()), ..<_>::default() };
        let mut inputs = inputs.into_iter().enumerate();
        while let Some((item, input)) = inputs.next() {
            let stops = match self.admit(input, &mut round, events) {
                Ok(Admission::New(spec)) => {
                    let seq = round.first.plus(round.tasks.len() as u64);
                    answer.outcomes.push(Ok(self.entry(spec.priority, seq, false)));
                    round.tasks.push(spec);
                    false
                }
                Ok(Admission::Known(task)) => {
                    answer.outcomes.push(Ok(self.entry(task.priority, task.seq, true)));
                    false
                }
                Ok(Admission::Elsewhere(partition, task)) => {
                    answer.outcomes.push(Err(Elsewhere::placeholder()));
                    answer.elsewhere.push(Elsewhere { item, partition, task });
                    if until_refused {
                        let behind = inputs.by_ref();
                        let place = |(item, task)| Elsewhere { item, partition, task };
                        answer.elsewhere.extend(behind.map(place));
                    }
                    until_refused
                }
                Err(reject) => {
                    answer.outcomes.push(Err(reject));
                    until_refused
                }
            };
            if stops {
                break;
            }
        }
        let Round { first, tasks, duplicates, .. } = round;
        if !tasks.is_empty() {
            self.commit(Event::Submitted { first, tasks }, events);
        }
        if !duplicates.is_empty() {
            self.commit(Event::Duplicates(duplicates.into_iter().collect()), events);
        }
        answer
    }

    /// Submits under a key, or answers as the first time. The key lies in the same batch as the
    /// tasks, so that either both are durable or none.
    pub(crate) fn submit_keyed(&mut self, call: KeyedSubmit, events: &mut Vec<Stamped>) -> Reply {
        let KeyedSubmit { tasks, until_refused, part, frees } = call;
        match self.recall(&part) {
            Err(reject) => return Reply::Refused(reject),
            Ok(Some(KeyAnswer::Tasks(told))) => {
                let known = |priority, seq, was| self.entry(priority, seq, was);
                return Reply::Submitted(keys::retold(told, tasks, until_refused, known));
            }
            Ok(Some(KeyAnswer::Note(_) | KeyAnswer::Free)) => return Reply::Refused(reused()),
            Ok(None) => {}
        }
        if let Some(reject) = self.no_room_for_keys() {
            return Reply::Refused(reject);
        }
        let answer = self.submit(tasks, until_refused, events);
        let refused = |reject: &Reject| match frees {
            Frees::Never => false,
            Frees::Closed => reject.code == Code::JobClosed,
            Frees::Refused => true,
        };
        let free = answer.elsewhere.is_empty()
            && answer.outcomes.iter().all(Result::is_err)
            && answer.outcomes.iter().flat_map(|outcome| outcome.as_ref().err()).any(refused);
        if !free {
            let told = KeyAnswer::Tasks(keys::told(&answer));
            self.commit(Event::Key { part, answer: told }, events);
        }
        Reply::Submitted(answer)
    }

    /// Keeps a note under a key, or gives back the one that is there.
    pub(crate) fn remember(
        &mut self,
        part: KeyPart,
        note: Vec<u8>,
        events: &mut Vec<Stamped>,
    ) -> Reply {
        match self.recall(&part) {
            Err(reject) => return Reply::Refused(reject),
            Ok(Some(KeyAnswer::Note(note))) => return Reply::Noted(note.clone(), true),
            Ok(Some(KeyAnswer::Tasks(_) | KeyAnswer::Free)) => return Reply::Refused(reused()),
            Ok(None) => {}
        }
        if let Some(reject) = self.no_room_for_keys() {
            return Reply::Refused(reject);
        }
        self.commit(Event::Key { part, answer: KeyAnswer::Note(note.clone()) }, events);
        Reply::Noted(note, false)
    }

    /// Frees a key whose request was refused after all.
    pub(crate) fn forget_key(&mut self, part: KeyPart, events: &mut Vec<Stamped>) -> Reply {
        if matches!(self.recall(&part), Ok(Some(_))) {
            self.commit(Event::Key { part, answer: KeyAnswer::Free }, events);
        }
        Reply::Done
    }

    /// What a part of a keyed request was answered.
    ///
    /// # Errors
    /// `idempotency_key_reused` when it asked for something else.
    pub fn recall(&self, part: &KeyPart) -> Result<Option<&KeyAnswer>, Reject> {
        match self.keys.get(part, self.now.wall, self.policy.key_retention_ms) {
            Some(known) if known.content != part.content.half() => Err(reused()),
            known => Ok(known.map(|known| &known.answer)),
        }
    }

    fn no_room_for_keys(&self) -> Option<Reject> {
        let wait_ms = self.keys.full(self.now.wall, self.policy.key_retention_ms)?;
        let detail = "no memory for another Idempotency-Key; none is forgotten before its time";
        let hint = "lower idempotency.retention, or send larger batches under a key";
        let reject = Reject::new(Code::Overloaded, detail).hint(hint);
        Some(reject.retry_unapplied(wait_ms.min(KEYS_WAIT_MS_MAX)))
    }

    fn entry(&self, priority: Priority, seq: TaskSeq, duplicate: bool) -> Admitted {
        let reference = TaskRef::of_seq(priority, self.id, seq);
        Admitted { reference, seq, record: Position::default(), index: 0, duplicate }
    }

    fn admit(
        &mut self,
        input: TaskInput,
        round: &mut Round,
        events: &mut Vec<Stamped>,
    ) -> Result<Admission, Reject> {
        let name = input.job.clone().unwrap_or_else(|| Name::from(DEFAULT_JOB));
        if !self.job_keys.contains_key(&name) {
            let spec = implicit_spec(&self.policy);
            self.commit(Event::JobDefined { job: name.clone(), implicit: true, spec }, events);
        }
        let key = self.job_keys[&name];
        let job = self.job(key);
        if job.closed || job.cancel.is_some() {
            let detail = format!("job {name} is closed and takes no more tasks");
            return Err(Reject::new(Code::JobClosed, detail).hint("submit into a new job"));
        }
        let (defaults, priority) = (&job.spec.defaults, job.spec.priority);
        let unique = match &input.id {
            Some(id) if job.spec.dedup == Dedup::Task => Some(unique::id_hash(&name, id)),
            Some(_) | None => None,
        };
        let Some(id) = unique else {
            let spec = resolve(input, name, priority, defaults, &self.policy, self.now.wall)?;
            return Ok(Admission::New(spec));
        };
        let home = unique::home(id, self.policy.partitions);
        if self.policy.partitions > 1 && home != self.id {
            return Ok(Admission::Elsewhere(home, input));
        }
        let content = unique::content_hash(&input);
        if let Some(known) = self.unique.get(id).or_else(|| round.fresh.get(&id)).copied() {
            if known.content != content {
                return Err(conflict(&input, TaskRef::of_seq(known.priority, self.id, known.seq)));
            }
            *round.duplicates.entry(name).or_default() += 1;
            return Ok(Admission::Known(known));
        }
        let mut spec = resolve(input, name, priority, defaults, &self.policy, self.now.wall)?;
        spec.content = Some(content);
        let seq = round.first.plus(round.tasks.len() as u64);
        round.fresh.insert(id, UniqueTask { id, content, seq, priority: spec.priority });
        Ok(Admission::New(spec))
    }
}

/// Longest wait that is told when there is no room for keys, ms.
const KEYS_WAIT_MS_MAX: u64 = 60_000;

fn reused() -> Reject {
    let detail = "the key was used for a request with another method, path, query or body";
    Reject::new(Code::IdempotencyKeyReused, detail).hint("use a fresh key for another request")
}

fn conflict(input: &TaskInput, existing: TaskRef) -> Reject {
    let id = input.id.as_deref().unwrap_or_default();
    let detail = format!("the job has a task {id} with other content, {existing}");
    let mut reject = Reject::new(Code::IdConflict, detail).on("id");
    reject.existing = Some(Box::new(existing));
    reject.hint("use another id, or send the same payload, encoding, priority, tags and affinity")
}

/// What a job is when its first task creates it.
#[must_use]
pub fn implicit_spec(policy: &Policy) -> JobSpec {
    JobSpec {
        name: None,
        priority: Priority::DEFAULT,
        weight: 1,
        tag: None,
        dedup: Dedup::Batch,
        retention_ms: policy.retention_ms,
        paused: false,
        defaults: JobDefaults::default(),
    }
}

fn resolve(
    input: TaskInput,
    job: Name,
    priority: Priority,
    defaults: &JobDefaults,
    policy: &Policy,
    now: WallMs,
) -> Result<TaskSpec, Reject> {
    let not_before = match input.delay {
        Delay::None => WallMs(0),
        Delay::For(ms) => now.plus(ms),
        Delay::Until(at) => at,
    };
    Ok(TaskSpec {
        id: input.id,
        job,
        priority: input.priority.unwrap_or(priority),
        tag: unite(input.tag, defaults.tag.as_ref())?,
        payload: input.payload,
        affinity: input.affinity.or_else(|| defaults.affinity.clone()).unwrap_or_default(),
        source: input.source.or_else(|| defaults.source.clone()),
        meta: input.meta.or_else(|| defaults.meta.clone()),
        timeout_s: input.timeout_s.or(defaults.timeout_s).unwrap_or(0),
        lease_ms: input.lease_ms.or(defaults.lease_ms).unwrap_or(0),
        max_attempts: input.max_attempts.or(defaults.max_attempts).unwrap_or(policy.max_attempts),
        max_crashes: input.max_crashes.or(defaults.max_crashes).unwrap_or(policy.max_crashes),
        backoff: back_off(input.backoff, defaults.backoff, policy.backoff)?,
        not_before: if not_before > now { not_before } else { WallMs(0) },
        traceparent: input.traceparent,
        content: None,
    })
}

fn unite(own: Option<Name>, job: Option<&Name>) -> Result<Option<Name>, Reject> {
    let Some(job) = job else { return Ok(own) };
    let Some(own) = own else { return Ok(Some(job.clone())) };
    let invalid = |bad: crate::model::tags::BadTag| Reject::new(Code::InvalidTag, bad.0).on("tag");
    let mut set = TagSet::parse(&own).map_err(invalid)?;
    set.add_text(job).map_err(invalid)?;
    Ok(Some(set.text().into()))
}

fn back_off(own: BackoffInput, job: BackoffInput, policy: Backoff) -> Result<Backoff, Reject> {
    let base_ms = own.base_ms.or(job.base_ms).unwrap_or(policy.base_ms);
    let cap_ms = own.cap_ms.or(job.cap_ms).unwrap_or(policy.cap_ms);
    if base_ms > cap_ms {
        return Err(Reject::field(
            "backoff",
            format!("baseMs {base_ms} is greater than capMs {cap_ms}; raise capMs with it"),
        ));
    }
    let jitter = own.jitter.or(job.jitter).unwrap_or(policy.jitter);
    Ok(Backoff { base_ms, cap_ms, jitter })
}

/// The sequence number a reference names here, if its priority is the admitted one.
impl Partition {
    /// Finds the task of a reference.
    #[must_use]
    pub fn seq_of(&self, reference: TaskRef) -> Option<TaskSeq> {
        let seq = TaskSeq(reference.offset);
        let known = self.rows.state(seq).is_some() && reference.index.is_none();
        // A finished task has shed its class; then any priority finds it and the tracker decides.
        let same = self.class(seq).is_none_or(|class| class.priority == reference.priority);
        (known && same).then_some(seq)
    }
}
