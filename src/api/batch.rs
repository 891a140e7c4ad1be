//! Submits of many tasks: what breaks a rule stays here, the rest goes to the engine, all are
//! counted in order.

use crate::actor::request::{ItemAdmitted, ItemOutcome};
use crate::api::context::Shared;
use crate::api::problem::Problem;
use crate::codec::json::{self, Element, Fields};
use crate::codec::wire::field::Rules;
use crate::codec::wire::submit::{Listing, Place, Settled, Tally};
use crate::codec::wire::{array, task};
use crate::model::array::ArrayInput;
use crate::model::command::Item;
use crate::model::id::Name;
use crate::model::job::{DEFAULT_JOB, JobChange, JobState};
use crate::model::reject::{Code, Reject};
use crate::model::task::TaskInput;
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
/// nothing was accepted and there is no such job.
pub(crate) async fn close_job(shared: &Shared, job: &Name, accepted: u64) -> Result<bool, Problem> {
    match shared.api.handle.change_job(job.clone(), JobChange::Close).await {
        Ok(_) => Ok(true),
        Err(reject) if accepted == 0 && reject.code == Code::JobNotFound => Ok(false),
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
    pub(crate) inputs: Vec<TaskInput>,
    /// Arrays, each with the number of tasks in `inputs` that stand before it.
    pub(crate) arrays: Vec<(usize, ArrayInput)>,
    /// In the order of the call: place, id, and why it is in neither of both.
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
        let job = |input: &TaskInput| input.job.clone().unwrap_or_else(|| DEFAULT_JOB.into());
        let arrays = self.arrays.iter().map(|(_, array)| &array.task);
        let mut jobs = self.inputs.iter().chain(arrays).map(job);
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
                    self.inputs.push(input);
                    return;
                }
                Err(reject) => reject,
            },
            Some(member) => match array::parse(fields, member, job, rules) {
                Ok(array) => {
                    self.items.push((place, array.id.clone(), None));
                    self.arrays.push((self.inputs.len(), array));
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

    /// Submits what can be and counts everything. A closed job refuses the whole call on its own
    /// route.
    pub(crate) async fn run(
        self,
        shared: &Shared,
        bytes: usize,
        mut tally: Tally,
        job_route: Option<&Name>,
    ) -> Result<Tally, Problem> {
        let items = self.items;
        let outcomes = match self.inputs.is_empty() && self.arrays.is_empty() {
            true => {
                if let Some(job) = job_route {
                    refuse_closed(shared, job).await?;
                }
                Vec::new()
            }
            false => admit(shared, self.inputs, self.arrays, bytes).await?,
        };
        if let Some(closed) = closed(&outcomes).filter(|_| job_route.is_some()) {
            return Err(closed.clone().into());
        }
        count(&mut tally, items, outcomes);
        Ok(tally)
    }
}

/// Admits tasks and the arrays between them; one outcome each, in the order of the call.
pub(crate) async fn admit(
    shared: &Shared,
    inputs: Vec<TaskInput>,
    arrays: Vec<(usize, ArrayInput)>,
    bytes: usize,
) -> Result<Vec<ItemOutcome>, Reject> {
    let handle = &shared.api.handle;
    if arrays.is_empty() {
        let outcomes = handle.submit(inputs, bytes).await?;
        return Ok(outcomes.into_iter().map(|o| o.map(ItemAdmitted::Task)).collect());
    }
    let mut items = Vec::with_capacity(inputs.len() + arrays.len());
    let mut arrays = arrays.into_iter().peekable();
    for (number, input) in inputs.into_iter().enumerate() {
        while let Some((_, array)) = arrays.next_if(|(before, _)| *before <= number) {
            items.push(Item::Array(Box::new(array)));
        }
        items.push(Item::Task(Box::new(input)));
    }
    items.extend(arrays.map(|(_, array)| Item::Array(Box::new(array))));
    handle.submit_items(items, bytes).await
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
            ItemAdmitted::Task(admitted) => Settled::Task(admitted.reference),
            ItemAdmitted::Array { count, refs, duplicate } => {
                Settled::Array { count: *count, refs, duplicate: *duplicate }
            }
        });
        tally.add(place, id.as_deref(), settled);
    }
}
