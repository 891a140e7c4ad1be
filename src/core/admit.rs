//! Admission: defaults of the job and the policy are filled in, then the tasks of one call become
//! one event.

use crate::core::hash::Hasher;
use crate::core::partition::Partition;
use crate::model::array::{ArrayInput, ArraySpec};
use crate::model::command::Item;
use crate::model::event::{Event, Stamped};
use crate::model::id::{Name, Position, TaskSeq};
use crate::model::job::{DEFAULT_JOB, Dedup, JobDefaults, JobSpec};
use crate::model::policy::{Backoff, Policy};
use crate::model::priority::Priority;
use crate::model::reference::TaskRef;
use crate::model::reject::{Code, Reject};
use crate::model::reply::{Admitted, AdmittedItem};
use crate::model::tags::TagSet;
use crate::model::task::{BackoffInput, Delay, TaskInput, TaskSpec};
use crate::model::time::WallMs;

impl Partition {
    pub(crate) fn submit(
        &mut self,
        inputs: Vec<TaskInput>,
        until_refused: bool,
        events: &mut Vec<Stamped>,
    ) -> Vec<Result<Admitted, Reject>> {
        let first = self.rows.next();
        let mut outcomes = Vec::with_capacity(inputs.len());
        let mut tasks: Vec<TaskSpec> = Vec::with_capacity(inputs.len());
        for input in inputs {
            let seq = first.plus(tasks.len() as u64);
            match self.admit(input, events) {
                Ok(spec) => {
                    let reference = TaskRef::of_seq(spec.priority, self.id, seq);
                    let record = Position::default();
                    outcomes.push(Ok(Admitted { reference, seq, record, index: 0 }));
                    tasks.push(spec);
                }
                Err(reject) => {
                    outcomes.push(Err(reject));
                    if until_refused {
                        break;
                    }
                }
            }
        }
        if !tasks.is_empty() {
            self.commit(Event::Submitted { first, tasks }, events);
        }
        outcomes
    }

    /// Tasks and arrays of one call, in their order: one event for each array and for each stretch
    /// of tasks between them.
    pub(crate) fn submit_items(
        &mut self,
        items: Vec<Item>,
        events: &mut Vec<Stamped>,
    ) -> Vec<Result<AdmittedItem, Reject>> {
        let mut outcomes = Vec::with_capacity(items.len());
        let mut tasks = Vec::new();
        for item in items {
            match item {
                Item::Task(task) => tasks.push(*task),
                Item::Array(array) => {
                    let stretch = self.submit(std::mem::take(&mut tasks), false, events);
                    outcomes.extend(stretch.into_iter().map(|o| o.map(AdmittedItem::Task)));
                    outcomes.push(self.submit_array(*array, events));
                }
            }
        }
        let stretch = self.submit(tasks, false, events);
        outcomes.extend(stretch.into_iter().map(|o| o.map(AdmittedItem::Task)));
        outcomes
    }

    fn submit_array(
        &mut self,
        input: ArrayInput,
        events: &mut Vec<Stamped>,
    ) -> Result<AdmittedItem, Reject> {
        let (span, id) = (input.span, input.id.clone());
        let content = content_hash(&input);
        let job = input.task.job.clone().unwrap_or_else(|| Name::from(DEFAULT_JOB));
        let key = self.job_keys.get(&job).copied();
        let known = key.zip(id.clone()).and_then(|known| self.array_ids.get(&known)).copied();
        if let Some((first, same)) = known {
            let reference = TaskRef::of_seq(self.array_priority(first), self.id, first);
            if same != content {
                let detail = "the job has another array of this id";
                return Err(Reject::new(Code::IdConflict, detail).on("array.id"));
            }
            return Ok(AdmittedItem::Array { reference, count: span.count, duplicate: true });
        }
        let mut task = self.admit(input.task, events)?;
        // An array may be empty here: its share is what the other partitions leave.
        let first = self.rows.next();
        let reference = TaskRef::of_seq(task.priority, self.id, first);
        task.id = None;
        let array = Box::new(ArraySpec { task, span, id, content });
        self.commit(Event::SubmittedArray { first, array }, events);
        Ok(AdmittedItem::Array { reference, count: span.count, duplicate: false })
    }

    /// Priority an array was admitted with; of an empty share the usual one.
    fn array_priority(&self, first: TaskSeq) -> Priority {
        let array = self.rows.array_of(first).filter(|array| array.first == first);
        array.map_or(Priority::DEFAULT, |array| self.classes.value(array.class.0).priority)
    }

    fn admit(&mut self, input: TaskInput, events: &mut Vec<Stamped>) -> Result<TaskSpec, Reject> {
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
        resolve(input, name, priority, defaults, &self.policy, self.now.wall)
    }
}

/// What is compared when an array id comes again: values, payload, priority, tags and affinity as
/// sent, before any default.
fn content_hash(array: &ArrayInput) -> [u64; 2] {
    let (span, task) = (array.span, &array.task);
    let mut hasher = Hasher::default();
    [span.from, span.step, span.count].into_iter().for_each(|word| hasher.word(word));
    hasher.word(u64::from(task.priority.map_or(0, Priority::get)));
    hasher.byte(task.payload.encoding as u8);
    hasher.bytes(&task.payload.bytes);
    hasher.text(task.tag.as_deref().unwrap_or_default());
    for key in task.affinity.iter().flatten() {
        hasher.text(&key.key);
        hasher.byte(key.weight);
    }
    hasher.0
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
        element: None,
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
