//! `GET /kwq/jobs/{job}/results`: the ended tasks of a job in completion order, a line each.

use crate::actor::endings::EndQuery;
use crate::api::answer::Answer;
use crate::api::call::Call;
use crate::api::context::Shared;
use crate::api::cursor::{pack, unpack};
use crate::api::problem::Outcome;
use crate::api::query::{Query, bad};
use crate::api::route::{PAYLOAD, Route, on};
use crate::api::stream::{Broken, Pieces, Pulse, Streaming};
use crate::codec::wire::ending;
use crate::codec::wire::out::Out;
use crate::log::Resume;
use crate::model::ending::{EndPlace, Ending};
use crate::model::id::Position;
use crate::model::limits;
use crate::model::reject::{Code, Reject};
use crate::model::state::TaskState;
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use hyper::{Method, StatusCode};
use std::sync::Arc;
use std::time::Duration;

const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");
/// Between two looks for more.
const FOLLOW_STEP: Duration = Duration::from_millis(250);
/// Between two looks whether the tracker has caught up.
const BEHIND_STEP: Duration = Duration::from_millis(5);
/// Looks before the tracker is called behind: 5 s.
const BEHIND_MAX: u32 = 1_000;

pub(crate) fn routes() -> Vec<Route> {
    vec![on(Method::GET, "/kwq/jobs/{job}/results", PAYLOAD, results)]
}

async fn results(call: Call) -> Outcome {
    let job = call.name(0, "job")?;
    let query = call.query(&["state", "cursor", "limit", "follow", "fresh"])?;
    // Every answer is fresh; the word is checked all the same.
    query.flag("fresh")?;
    let shared = &call.shared;
    let follow = query.flag("follow")?;
    let states = states(&query)?;
    let left = limit(&query, follow)?;
    let now = shared.api.handle.now().wall;
    let kind = kind(&job);
    let cursor = match query.cursor()? {
        Some(text) => Some(shared.seal().await?.unwrap(&kind, text, now)?),
        None => None,
    };
    // In this order: what ended the job lies before the end of the log.
    let ended = shared.api.handle.job(job.clone()).await?.state.ended();
    let until = shared.api.handle.log_ends().await?;
    let from = cursor.map(|cursor| places(&cursor, until.len())).transpose()?;
    let reader = Reader {
        until,
        pulse: Pulse::new(shared.phase.clone()),
        shared: Arc::clone(shared),
        query: EndQuery {
            job,
            states,
            from,
            until: Vec::new(),
            limit: 0,
            resume: Resume::default(),
        },
        kind,
        left,
        follow,
        ended,
        behind: 0,
    };
    let pieces = reader.begin().await?;
    let answer = Answer::typed(StatusCode::OK, NDJSON, Bytes::new()).with("kwq-lag-ms", 0);
    Ok(answer.streaming(Streaming::new(pieces)))
}

fn states(query: &Query) -> Result<u16, Reject> {
    let terminal = |word: &str| TaskState::parse(word).filter(|state| state.terminal());
    let states = query.list("state", terminal)?;
    let bit = |state: &TaskState| 1 << state.index();
    match states.iter().fold(0, |bits, state| bits | bit(state)) {
        0 => Ok(bit(&TaskState::Completed)),
        bits => Ok(bits),
    }
}

/// `None` = no end.
fn limit(query: &Query, follow: bool) -> Result<Option<usize>, Reject> {
    let most = u64::try_from(limits::PAGE_MAX).unwrap_or(u64::MAX);
    let asked = query.integer("limit", 1, most)?;
    let asked = asked.and_then(|limit| usize::try_from(limit).ok());
    Ok(if follow { asked } else { Some(asked.unwrap_or(limits::PAGE_MAX)) })
}

/// A cursor fits the job it came from.
fn kind(job: &str) -> String {
    format!("results {job}")
}

/// A place in each series of the log.
fn places(data: &[u8], series: usize) -> Result<Vec<EndPlace>, Reject> {
    let numbers = unpack(data).filter(|numbers| numbers.len() == 2 * series);
    let numbers = numbers.ok_or_else(|| bad("cursor", "the cursor is broken"))?;
    let place = |pair: &[u64]| EndPlace { record: Position(pair[0]), read: pair[1] };
    Ok(numbers.chunks_exact(2).map(place).collect())
}

/// What is still to be sent.
struct Reader {
    shared: Arc<Shared>,
    query: EndQuery,
    kind: String,
    /// Lines; `None` = no end.
    left: Option<usize>,
    follow: bool,
    /// The job had ended before `until` was read.
    ended: bool,
    until: Vec<Position>,
    pulse: Pulse,
    /// Looks since the tracker was found behind.
    behind: u32,
}

/// What one step gave.
enum Step {
    Piece(Bytes),
    /// Nothing to be sent now.
    Nothing,
    Over,
}

impl Reader {
    /// The first step is taken before the answer begins: what is wrong then is refused properly.
    async fn begin(mut self) -> Result<Pieces, Reject> {
        let first = self.step().await?;
        let state = Some((self, Some(first)));
        Ok(Box::pin(futures_util::stream::unfold(state, |state| async {
            let (mut reader, first) = state?;
            match reader.piece(first).await {
                Ok(Some(bytes)) => Some((Ok(bytes), Some((reader, None)))),
                Ok(None) => None,
                Err(reject) => {
                    tracing::warn!(job = %reader.query.job, %reject.detail, "results broke off");
                    Some((Err(Broken(reject.detail.to_string())), None))
                }
            }
        })))
    }

    async fn piece(&mut self, first: Option<Step>) -> Result<Option<Bytes>, Reject> {
        let mut step = first;
        loop {
            let taken = match step.take() {
                Some(step) => step,
                None => self.step().await?,
            };
            match taken {
                Step::Piece(bytes) => {
                    self.pulse.speak();
                    return Ok(Some(bytes));
                }
                Step::Over => return Ok(None),
                Step::Nothing if self.follow && self.pulse.due() => {
                    self.pulse.speak();
                    return Ok(Some(Bytes::from_static(b"\n")));
                }
                Step::Nothing => {}
            }
        }
    }

    async fn step(&mut self) -> Result<Step, Reject> {
        let limit = self.left.unwrap_or(limits::PAGE_MAX);
        if limit == 0 {
            return Ok(Step::Over);
        }
        let query = EndQuery { until: self.until.clone(), limit, ..self.query.clone() };
        let slice = self.shared.api.handle.endings(query).await?;
        self.query.from = slice.next.or_else(|| self.query.from.take());
        self.query.resume = slice.resume;
        self.behind = if slice.behind { self.behind + 1 } else { 0 };
        if !slice.rows.is_empty() {
            self.left = self.left.map(|left| left.saturating_sub(slice.rows.len()));
            return Ok(Step::Piece(self.lines(&slice.rows).await?));
        }
        if slice.behind {
            return self.catch_up().await;
        }
        if !slice.over {
            return Ok(Step::Nothing);
        }
        if !self.follow || self.ended {
            return Ok(Step::Over);
        }
        self.wait().await
    }

    async fn catch_up(&mut self) -> Result<Step, Reject> {
        if self.behind > BEHIND_MAX && !self.follow {
            let detail = "the tracker did not catch up within 5 s";
            return Err(Reject::new(Code::TrackerBehind, detail).retry_unapplied(1_000));
        }
        Ok(if self.pulse.rest(BEHIND_STEP).await { Step::Nothing } else { Step::Over })
    }

    /// Waits until there is more in the log, or the job has ended.
    async fn wait(&mut self) -> Result<Step, Reject> {
        let handle = &self.shared.api.handle;
        loop {
            if !self.pulse.rest(FOLLOW_STEP).await {
                return Ok(Step::Over);
            }
            let end = handle.log_ends().await?;
            if end != self.until {
                match handle.job(self.query.job.clone()).await {
                    Ok(job) => self.ended = job.state.ended(),
                    // It went with all it had.
                    Err(reject) if matches!(reject.code, Code::JobNotFound | Code::Purged) => {
                        return Ok(Step::Over);
                    }
                    Err(reject) => return Err(reject),
                }
                self.until = handle.log_ends().await?;
                return Ok(Step::Nothing);
            }
            if self.pulse.due() {
                return Ok(Step::Nothing);
            }
        }
    }

    async fn lines(&self, rows: &[Ending]) -> Result<Bytes, Reject> {
        let (seal, now) = (self.shared.seal().await?, self.shared.api.handle.now().wall);
        let mut text = Vec::with_capacity(rows.len() * 300);
        for row in rows {
            let places: Vec<u64> =
                row.next.iter().flat_map(|place| [place.record.0, place.read]).collect();
            let cursor = seal.wrap(&self.kind, &pack(&places), now);
            let mut out = Out::with_capacity(300);
            ending::line(&mut out, row, &cursor);
            text.extend(out.into_bytes());
            text.push(b'\n');
        }
        Ok(text.into())
    }
}
