//! Admission of one item: defaults of the job and the policy are filled in; tasks that follow each
//! other become one event, an array has its own.

use crate::core::intern::JobKey;
use crate::core::map::{self, Map};
use crate::core::partition::Partition;
use crate::core::unique::{self, UniqueTask};
use crate::model::array::{ArrayInput, ArraySpec};
use crate::model::event::{Event, FailCause, Failure, Stamped};
use crate::model::id::{Name, PartitionId, TaskSeq};
use crate::model::job::{DEFAULT_JOB, Dedup, JobDefaults, JobSpec};
use crate::model::key::{Hash128, KeyPart};
use crate::model::policy::{Backoff, Policy};
use crate::model::priority::Priority;
use crate::model::reference::TaskRef;
use crate::model::reject::{Code, Reject};
use crate::model::reply::AdmittedItem;
use crate::model::tags::TagSet;
use crate::model::task::{BackoffInput, Delay, TaskInput, TaskSpec};
use crate::model::time::WallMs;
use std::collections::BTreeMap;

/// What is gathered while the items of one call are looked at.
pub(crate) struct Round {
    /// Tasks that are not committed yet.
    pub(crate) tasks: Vec<TaskSpec>,
    /// Those of them that came in dead.
    pub(crate) dead: Vec<Failure>,
    /// Unique ids of the call's tasks; the index learns them only when they are applied.
    fresh: Map<Hash128, UniqueTask>,
    /// Tasks that were there already, by job.
    pub(crate) duplicates: BTreeMap<Name, u64>,
}

impl Default for Round {
    fn default() -> Self {
        Self { tasks: Vec::new(), dead: Vec::new(), fresh: map::new(), duplicates: BTreeMap::new() }
    }
}

/// What one item comes to.
pub(crate) enum Admission {
    /// It is in.
    Here(AdmittedItem),
    /// Another partition decides it, or this one later.
    Elsewhere(PartitionId),
}

impl Partition {
    /// Makes what was gathered events; nothing comes after it in its round.
    pub(crate) fn end_round(&mut self, mut round: Round, events: &mut Vec<Stamped>) {
        self.commit_round(&mut round, events);
        if !round.duplicates.is_empty() {
            self.commit(Event::Duplicates(round.duplicates.into_iter().collect()), events);
        }
    }

    /// Makes the tasks that were gathered an event.
    pub(crate) fn commit_round(&mut self, round: &mut Round, events: &mut Vec<Stamped>) {
        if !round.tasks.is_empty() {
            let (first, tasks) = (self.rows.next(), std::mem::take(&mut round.tasks));
            self.commit(Event::Submitted { first, tasks }, events);
        }
        if !round.dead.is_empty() {
            let (cause, tasks) = (FailCause::Error, std::mem::take(&mut round.dead));
            self.commit(Event::Failed { cause, tasks }, events);
        }
    }

    /// Admits a task; it is taken out of `input` only if it is admitted here.
    pub(crate) fn admit_task(
        &mut self,
        input: &mut TaskInput,
        round: &mut Round,
        events: &mut Vec<Stamped>,
    ) -> Result<Admission, Reject> {
        let (name, key) = self.open_job(input, events)?;
        let job = self.job(key);
        let unique = match &input.id {
            Some(id) if job.spec.dedup == Dedup::Task => Some(unique::id_hash(&name, id)),
            Some(_) | None => None,
        };
        let seq = self.rows.next().plus(round.tasks.len() as u64);
        let mut content = None;
        if let Some(id) = unique {
            let home = unique::home(id, self.policy.partitions);
            if !self.decides(home) {
                return Ok(Admission::Elsewhere(home));
            }
            let hash = unique::content_hash(input);
            if let Some(known) = self.unique.get(id).or_else(|| round.fresh.get(&id)).copied() {
                if known.content != hash {
                    let existing = TaskRef::of_seq(known.priority, self.id, known.seq);
                    return Err(task_conflict(input, existing));
                }
                *round.duplicates.entry(name).or_default() += 1;
                let entry = self.entry(known.priority, known.seq, true);
                return Ok(Admission::Here(AdmittedItem::Task(entry)));
            }
            content = Some((id, hash));
        }
        let mut spec = self.resolve(input, name, key)?;
        if let Some((id, content)) = content {
            spec.content = Some(content);
            round.fresh.insert(id, UniqueTask { id, content, seq, priority: spec.priority });
        }
        let entry = self.entry(spec.priority, seq, false);
        round.tasks.push(spec);
        Ok(Admission::Here(AdmittedItem::Task(entry)))
    }

    /// Admits this partition's share of an array; one it has counts as so many repeated tasks. What
    /// its elements have in common is taken out of `input` only if it is admitted.
    pub(crate) fn admit_array(
        &mut self,
        input: &mut ArrayInput,
        repeated: u64,
        round: &mut Round,
        events: &mut Vec<Stamped>,
    ) -> Result<AdmittedItem, Reject> {
        let content = unique::array_hash(input);
        let of = u64::from(self.policy.partitions.max(1)).min(input.span.count);
        let number = if self.policy.partitions > 1 { u64::from(self.id.0) } else { 0 };
        let span = input.span.share(number, of);
        let (name, key) = self.open_job(&input.task, events)?;
        let known = input.id.clone().and_then(|id| self.array_ids.get(&(key, id))).copied();
        if let Some((first, same)) = known {
            let reference = TaskRef::of_seq(self.array_priority(first), self.id, first);
            if same != content {
                return Err(array_conflict(reference));
            }
            if repeated > 0 {
                *round.duplicates.entry(name).or_default() += repeated;
            }
            return Ok(AdmittedItem::Array { reference, count: span.count, duplicate: true });
        }
        let task = TaskSpec { id: None, ..self.resolve(&mut input.task, name, key)? };
        // The tasks before it have their numbers.
        self.commit_round(round, events);
        let first = self.rows.next();
        let reference = TaskRef::of_seq(task.priority, self.id, first);
        let array = Box::new(ArraySpec { task, span, id: input.id.take(), content });
        self.commit(Event::SubmittedArray { first, array }, events);
        Ok(AdmittedItem::Array { reference, count: span.count, duplicate: false })
    }

    /// Priority an array was admitted with; of an empty share the usual one.
    fn array_priority(&self, first: TaskSeq) -> Priority {
        let array = self.rows.array_of(first).filter(|array| array.first == first);
        array.map_or(Priority::DEFAULT, |array| self.classes.value(array.class.0).priority)
    }

    /// The job of a task, created if need be, if it takes tasks.
    fn open_job(
        &mut self,
        input: &TaskInput,
        events: &mut Vec<Stamped>,
    ) -> Result<(Name, JobKey), Reject> {
        let (name, key) = self.known_job(input, events);
        let job = self.job(key);
        if job.closed || job.cancel.is_some() {
            let detail = format!("job {name} is closed and takes no more tasks");
            return Err(Reject::new(Code::JobClosed, detail).hint("submit into a new job"));
        }
        Ok((name, key))
    }

    /// The job of a task, created if need be.
    pub(crate) fn known_job(
        &mut self,
        input: &TaskInput,
        events: &mut Vec<Stamped>,
    ) -> (Name, JobKey) {
        let name = input.job.clone().unwrap_or_else(|| Name::from(DEFAULT_JOB));
        if !self.job_keys.contains_key(&name) {
            let spec = implicit_spec(&self.policy);
            self.commit(Event::JobDefined { job: name.clone(), implicit: true, spec }, events);
        }
        let key = self.job_keys[&name];
        (name, key)
    }

    /// A task that was admitted under one of these parts of a key and has no text any more, made
    /// anew of the same input, with the stamp of its admission. `None`: no part is remembered.
    #[must_use]
    pub fn retold(
        &self,
        parts: &[KeyPart],
        priority: Priority,
        mut input: TaskInput,
    ) -> Option<(TaskSpec, WallMs)> {
        let (now, kept_ms) = (self.now.wall, self.policy.key_retention_ms);
        let at = parts.iter().find_map(|part| self.remembered.get(part, now, kept_ms))?.at;
        let name = input.job.clone().unwrap_or_else(|| Name::from(DEFAULT_JOB));
        // Of a job that went with its tasks the defaults are gone; one of its name came later.
        let job = self.job_keys.get(&name).map(|key| self.job(*key));
        let job = job.filter(|job| job.numbers.created <= at);
        let defaults = job.map(|job| job.spec.defaults.clone()).unwrap_or_default();
        let spec = resolve(&mut input, name, priority, &defaults, &self.policy, at).ok()?;
        Some((TaskSpec { priority, ..spec }, at))
    }

    fn resolve(&self, input: &mut TaskInput, name: Name, key: JobKey) -> Result<TaskSpec, Reject> {
        let spec = &self.job(key).spec;
        resolve(input, name, spec.priority, &spec.defaults, &self.policy, self.clock())
    }
}

fn task_conflict(input: &TaskInput, existing: TaskRef) -> Reject {
    let id = input.id.as_deref().unwrap_or_default();
    let detail = format!("the job has a task {id} with other content, {existing}");
    let mut reject = Reject::new(Code::IdConflict, detail).on("id");
    reject.existing = Some(Box::new(existing));
    reject.hint("use another id, or send the same payload, encoding, priority, tags and affinity")
}

fn array_conflict(existing: TaskRef) -> Reject {
    let detail = format!("the job has another array of this id, {existing}");
    let mut reject = Reject::new(Code::IdConflict, detail).on("array.id");
    reject.existing = Some(Box::new(existing));
    reject.hint("use another id, or send the same values, template, priority, tags and affinity")
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

/// A refused input is left as it was. `now`: by the clock, as whoever names a time knows no stamps.
fn resolve(
    input: &mut TaskInput,
    job: Name,
    priority: Priority,
    defaults: &JobDefaults,
    policy: &Policy,
    now: WallMs,
) -> Result<TaskSpec, Reject> {
    let tag = unite(input.tag.clone(), defaults.tag.as_ref())?;
    let backoff = back_off(input.backoff, defaults.backoff, policy.backoff)?;
    let input = std::mem::take(input);
    let not_before = match input.delay {
        Delay::None => WallMs(0),
        Delay::For(ms) => now.plus(ms),
        Delay::Until(at) => at,
    };
    Ok(TaskSpec {
        id: input.id,
        job,
        priority: input.priority.unwrap_or(priority),
        tag,
        payload: input.payload,
        affinity: input.affinity.or_else(|| defaults.affinity.clone()).unwrap_or_default(),
        source: input.source.or_else(|| defaults.source.clone()),
        meta: input.meta.or_else(|| defaults.meta.clone()),
        timeout_s: input.timeout_s.or(defaults.timeout_s).unwrap_or(0),
        lease_ms: input.lease_ms.or(defaults.lease_ms).unwrap_or(0),
        max_attempts: input.max_attempts.or(defaults.max_attempts).unwrap_or(policy.max_attempts),
        max_crashes: input.max_crashes.or(defaults.max_crashes).unwrap_or(policy.max_crashes),
        backoff,
        not_before: if not_before > now { not_before } else { WallMs(0) },
        traceparent: input.traceparent,
        content: None,
        element: None,
    })
}

pub(crate) fn unite(own: Option<Name>, job: Option<&Name>) -> Result<Option<Name>, Reject> {
    let Some(job) = job else { return Ok(own) };
    let Some(own) = own else { return Ok(Some(job.clone())) };
    let invalid = |bad: crate::model::tags::BadTag| Reject::new(Code::InvalidTag, bad.0).on("tag");
    let mut set = TagSet::parse(&own).map_err(invalid)?;
    set.add_kept(job).map_err(invalid)?;
    Ok(Some(set.stored().into()))
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
        let first = TaskSeq(reference.offset);
        let array = self.rows.array_of(first);
        let seq = match (array, reference.index) {
            (None, None) => first,
            // Only the first element of an array gives its number to the references of all.
            (Some(array), Some(value)) if array.first == first => {
                first.plus(array.span.place(value)?)
            }
            (None, Some(_)) | (Some(_), _) => return None,
        };
        let known = self.rows.state(seq).is_some();
        // A finished task has shed its class; then any priority finds it and the tracker decides.
        let same = self.class(seq).is_none_or(|class| class.priority == reference.priority);
        (known && same).then_some(seq)
    }
}
