//! Submits of many tasks: what breaks a rule stays here, the rest goes to the engine, all are
//! counted in order.

use crate::actor::request::{ItemAdmitted, ItemOutcome, KeyOf, SubmitRequest};
use crate::api::call::Call;
use crate::api::context::Shared;
use crate::api::problem::Problem;
use crate::codec::json::{self, Element, Fields};
use crate::codec::wire::field::Rules;
use crate::codec::wire::submit::{Listing, Place, Settled, Tally};
use crate::codec::wire::{array, task};
use crate::model::command::Item;
use crate::model::id::Name;
use crate::model::job::{DEFAULT_JOB, JobChange, JobState};
use crate::model::reject::{Code, Reject};
use std::sync::Arc;

/// `results=all|errors`.
pub(crate) fn listing(query: &crate::api::query::Query, usual: Listing) -> Result<Listing, Reject> {
    match query.one("results")? {
        None => Ok(usual),
        Some("all") => Ok(Listing::All),
        Some("errors") => Ok(Listing::Errors),
        Some(_) => Err(crate::api::query::bad("results", "results must be all or errors")),
    }
}

/// Closes a job after its tasks are durable; what was accepted is told also when that fails. False:
/// nothing was accepted and there is no such job, or no longer.
pub(crate) async fn close_job(shared: &Shared, job: &Name, accepted: u64) -> Result<bool, Problem> {
    match shared.api.handle.change_job(job.clone(), JobChange::Close).await {
        Ok(_) => Ok(true),
        Err(Reject { code: Code::JobNotFound | Code::Purged, .. }) if accepted == 0 => Ok(false),
        // The tasks are in, whatever became of the close.
        Err(reject) => Err(Problem::from(reject.possibly_applied()).number("accepted", accepted)),
    }
}

/// A closed job refuses also a call that would bring it nothing. A job that cannot be asked does
/// not: nothing is admitted either way.
pub(crate) async fn refuse_closed(shared: &Shared, job: &Name) -> Result<(), Problem> {
    match shared.api.handle.job(job.clone()).await {
        Ok(view) if view.state != JobState::Open => {
            let detail = format!("job {job} is closed and takes no more tasks");
            Err(Reject::new(Code::JobClosed, detail).hint("submit into a new job").into())
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Items of one call, those that break a rule apart from those that go to the engine.
#[derive(Default)]
pub(crate) struct Batch {
    /// Tasks and arrays that break no rule.
    pub(crate) inputs: Vec<Item>,
    /// In the order of the call: place, id, and why it is not in `inputs`.
    pub(crate) items: Vec<(Place, Option<Name>, Option<Reject>)>,
}

impl Batch {
    /// Reads an array, or one object as an array of one.
    pub(crate) fn parse(
        text: &str,
        job: Option<&Name>,
        rules: &Rules,
        items_max: usize,
    ) -> Result<Self, Reject> {
        let mut batch = Self::default();
        if json::first_byte(text.as_bytes()) != Some(b'[') {
            let fields = json::object(text)?;
            batch.read(Place::Item(0), &fields, job, rules);
            return Ok(batch);
        }
        for (i, element) in json::elements(text)?.enumerate() {
            if i == items_max {
                let detail = format!("more than {items_max} items; send NDJSON or several calls");
                return Err(Reject::new(Code::TooManyItems, detail));
            }
            match element? {
                Element::Object(fields) => {
                    batch.read(Place::Item(i), &fields, job, rules);
                }
                Element::Other(raw) => {
                    let detail = format!("a task must be an object, not {}", raw.kind());
                    let reject = Reject::new(Code::InvalidField, detail);
                    batch.items.push((Place::Item(i), None, Some(reject)));
                }
            }
        }
        Ok(batch)
    }

    /// The job all tasks go to, or `*`.
    pub(crate) fn about(&self) -> Name {
        let job = |item: &Item| item.task().job.clone().unwrap_or_else(|| DEFAULT_JOB.into());
        let mut jobs = self.inputs.iter().map(job);
        let first = jobs.next().unwrap_or_else(|| "*".into());
        if jobs.all(|job| job == first) { first } else { "*".into() }
    }

    /// Reads and adds one item, a task or an array.
    pub(crate) fn read(
        &mut self,
        place: Place,
        fields: &Fields<'_>,
        job: Option<&Name>,
        rules: &Rules,
    ) {
        let refused = match array::member(fields) {
            None => match task::parse(fields, job, rules) {
                Ok(input) => {
                    self.items.push((place, input.id.clone(), None));
                    self.inputs.push(Item::Task(input));
                    return;
                }
                Err(reject) => reject,
            },
            Some(member) => match array::parse(fields, member, job, rules) {
                Ok(array) => {
                    self.items.push((place, array.id.clone(), None));
                    self.inputs.push(Item::Array(array));
                    return;
                }
                Err(reject) => reject,
            },
        };
        // The id of a refused one is shown if it can be read.
        let id = fields.get("id").and_then(|raw| raw.string().ok().flatten());
        let id = id.filter(|id| crate::codec::wire::field::name_fault(id).is_none());
        self.items.push((place, id.map(|id| Arc::from(id.as_ref())), Some(refused)));
    }

    /// Submits what can be and counts everything; says whether it is the answer of an earlier call.
    /// A closed job refuses the whole call on its own route.
    pub(crate) async fn run(
        self,
        call: &Call,
        bytes: usize,
        mut tally: Tally,
        job_route: Option<&Name>,
        key: Option<KeyOf>,
    ) -> Result<(Tally, bool), Problem> {
        let (handle, nothing) = (&call.shared.api.handle, self.inputs.is_empty());
        if let Some(job) = job_route.filter(|_| nothing) {
            // An answer that was given stays, whatever became of the job.
            let known = match &key {
                Some(key) => handle.recall(key.part(0)).await?.is_some(),
                None => false,
            };
            if !known {
                refuse_closed(&call.shared, job).await?;
            }
        }
        let (outcomes, replayed) = if nothing && key.is_none() {
            (Vec::new(), false)
        } else {
            let items = self.inputs;
            let begin_by = call.deadline;
            let request = SubmitRequest { items, bytes, until_refused: false, key, begin_by };
            let answer = handle.submit(request).await?;
            (answer.outcomes, answer.replayed)
        };
        if let Some(closed) = closed(&outcomes).filter(|_| job_route.is_some()) {
            return Err(closed.clone().into());
        }
        count(&mut tally, self.items, outcomes);
        Ok((tally, replayed))
    }
}

/// The refusal of a closed job, when nothing of the call was admitted.
pub(crate) fn closed(outcomes: &[ItemOutcome]) -> Option<&Reject> {
    let mut refused = None;
    for outcome in outcomes {
        match outcome {
            Ok(_) => return None,
            Err(reject) if reject.code == Code::JobClosed => refused = Some(reject),
            Err(_) => {}
        }
    }
    refused
}

/// Counts items with the outcomes of those that were submitted, in order.
pub(crate) fn count(
    tally: &mut Tally,
    items: Vec<(Place, Option<Name>, Option<Reject>)>,
    outcomes: Vec<ItemOutcome>,
) {
    let mut outcomes = outcomes.into_iter();
    for (place, id, refused) in items {
        let outcome: ItemOutcome = match refused {
            Some(reject) => Err(reject),
            None => outcomes
                .next()
                .unwrap_or_else(|| Err(Reject::new(Code::Internal, "an item without outcome"))),
        };
        let settled = outcome.as_ref().map(|admitted| match admitted {
            ItemAdmitted::Task(task) => Settled::Task(task.reference, task.duplicate),
            ItemAdmitted::Array { count, refs, duplicate } => {
                Settled::Array { count: *count, refs, duplicate: *duplicate }
            }
        });
        tally.add(place, id.as_deref(), settled);
    }
}
