//! The worker protocol in types: consume, reports, heartbeat, sign-off.
//!
//! None of these calls repeats itself: a worker holds its reports until it has seen their outcomes,
//! and decides.

use super::call::part;
use super::{Answer, Call, Client, Error, base64};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::time::Duration;

/// Body of a consume.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Consume {
    /// Name, unique per process.
    pub worker: String,
    /// Shown, never dialled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Most tasks.
    pub max: usize,
    /// How long to wait for the first, ms.
    pub wait_ms: u64,
    /// Work asked for, ms of run time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ms: Option<u64>,
    /// Lease asked for, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_ms: Option<u64>,
    /// Levels served; empty = all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub priorities: Vec<u8>,
    /// Jobs served; empty = all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<String>,
    /// Keys whose state is warm here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub affinity: Vec<String>,
    /// Reports that go first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub done: Vec<Report>,
}

/// Answer of a consume.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Consumed {
    /// Tasks handed out.
    #[serde(default)]
    pub tasks: Vec<HandOut>,
    /// Outcomes of `done`, in order.
    #[serde(default)]
    pub done: Vec<Outcome>,
    /// Time between two heartbeats, ms.
    #[serde(default)]
    pub heartbeat_ms: u64,
    /// Stop asking.
    #[serde(default)]
    pub drain: bool,
    /// On an empty answer: wait this long, ms.
    #[serde(skip)]
    pub poll_after_ms: u64,
}

/// A task handed out.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HandOut {
    /// Client id, else the reference.
    pub id: String,
    /// Reference.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Job.
    pub group_id: String,
    /// Priority, 9 first.
    pub priority: u8,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Affinity keys.
    #[serde(default)]
    pub affinity: Vec<Key>,
    /// Payload as on the wire.
    pub payload: Option<Box<RawValue>>,
    /// `text`, `json`, `base64`.
    pub encoding: Option<String>,
    /// Number of the hand-out.
    pub attempt: u32,
    /// Value of an array element.
    pub index: Option<u64>,
    /// Passed on as sent.
    pub traceparent: Option<String>,
    /// Token.
    pub lease: String,
}

/// An affinity key with its weight.
#[derive(Debug, Deserialize)]
pub struct Key {
    /// The key.
    pub key: String,
}

/// What became of a task.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// `complete`, `fail`, `release`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Token.
    pub lease: String,
    /// The worker's own measure, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_ms: Option<u64>,
    /// Result, as on the wire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// `text` or `base64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<&'static str>,
    /// Class of a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Message of a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// False: the dead letter at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retryable: Option<bool>,
    /// Delay of a release, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
}

/// What a report came to.
#[derive(Clone, Debug, Deserialize)]
pub struct Outcome {
    /// The word of the protocol.
    pub outcome: String,
    /// Token it is about.
    pub lease: Option<String>,
    /// Code of `invalid`.
    pub code: Option<String>,
    /// Why it is `invalid`.
    pub detail: Option<String>,
}

/// Answer of a heartbeat.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Beat {
    /// Time between two heartbeats, ms.
    #[serde(default)]
    pub heartbeat_ms: u64,
    /// Tokens that hold nothing any more.
    #[serde(default)]
    pub lost: Vec<String>,
    /// Tasks to stop.
    #[serde(default)]
    pub cancel: Vec<Stop>,
    /// Stop asking.
    #[serde(default)]
    pub drain: bool,
}

/// A task to stop.
#[derive(Debug, Deserialize)]
pub struct Stop {
    /// Token.
    pub lease: String,
    /// Why.
    pub reason: Option<String>,
}

#[derive(Deserialize)]
struct Items {
    items: Vec<Outcome>,
}

impl HandOut {
    /// The payload's bytes.
    ///
    /// # Errors
    /// A body that is not what the API promises.
    pub fn payload_bytes(&self) -> Result<Vec<u8>, Error> {
        let Some(raw) = &self.payload else { return Ok(Vec::new()) };
        let text = || {
            serde_json::from_str::<String>(raw.get())
                .map_err(|error| Error::BadAnswer(format!("payload: {error}")))
        };
        match self.encoding.as_deref() {
            Some("json") => Ok(raw.get().as_bytes().to_vec()),
            Some("base64") => base64::decode(&text()?)
                .ok_or_else(|| Error::BadAnswer("payload: not base64".to_owned())),
            _ => Ok(text()?.into_bytes()),
        }
    }
}

impl Report {
    fn of(kind: &'static str, lease: &str) -> Self {
        Self {
            kind,
            lease: lease.to_owned(),
            run_ms: None,
            result: None,
            encoding: None,
            class: None,
            message: None,
            retryable: None,
            delay_ms: None,
        }
    }

    /// Done; bytes that are no UTF-8 travel as base64.
    #[must_use]
    pub fn complete(lease: &str, run_ms: u64, result: Vec<u8>) -> Self {
        let mut report = Self { run_ms: Some(run_ms), ..Self::of("complete", lease) };
        if result.is_empty() {
            return report;
        }
        let (text, encoding) = match String::from_utf8(result) {
            Ok(text) => (text, "text"),
            Err(error) => (base64::encode(error.as_bytes()), "base64"),
        };
        (report.result, report.encoding) = (Some(text), Some(encoding));
        report
    }

    /// Failed.
    #[must_use]
    pub fn fail(lease: &str, class: &str, message: &str, retryable: bool) -> Self {
        Self {
            class: Some(class.to_owned()),
            message: Some(message.to_owned()),
            retryable: Some(retryable),
            ..Self::of("fail", lease)
        }
    }

    /// Given back unharmed.
    #[must_use]
    pub fn release(lease: &str, delay_ms: u64) -> Self {
        Self { delay_ms: Some(delay_ms), ..Self::of("release", lease) }
    }

    /// About how many bytes it takes on the wire.
    #[must_use]
    pub fn weight(&self) -> usize {
        let texts = [&self.result, &self.message, &self.class];
        texts.into_iter().flatten().map(|text| text.len() + text.len() / 8).sum::<usize>() + 200
    }
}

impl Client {
    /// Asks for work once.
    ///
    /// # Errors
    /// As [`Client::send_once`].
    pub async fn consume(&self, body: &Consume) -> Result<Consumed, Error> {
        let call = Call::post("/kwq/consume")
            .body("application/json", written(body)?)
            .and_wait(Duration::from_millis(body.wait_ms));
        let answer = self.send_once(&call).await?;
        if answer.status == 204 {
            return Ok(Consumed {
                drain: answer.header("kwq-drain") == Some("true"),
                poll_after_ms: poll_after(&answer),
                ..Consumed::default()
            });
        }
        answer.read()
    }

    /// Sends reports that cannot wait for the next consume; outcomes in order.
    ///
    /// # Errors
    /// As [`Client::send_once`].
    pub async fn report(&self, reports: &[Report]) -> Result<Vec<Outcome>, Error> {
        let mut outcomes = Vec::with_capacity(reports.len());
        for run in reports.chunk_by(|a, b| a.kind == b.kind) {
            let kind = run.first().map_or("complete", |report| report.kind);
            let mut items = Vec::with_capacity(run.len());
            for report in run {
                let mut item = serde_json::to_value(report)
                    .map_err(|error| Error::BadAnswer(error.to_string()))?;
                if let Some(members) = item.as_object_mut() {
                    members.remove("type");
                }
                items.push(item);
            }
            let call =
                Call::post(format!("/kwq/{kind}")).json(&serde_json::json!({ "items": items }));
            outcomes.extend(self.send_once(&call).await?.read::<Items>()?.items);
        }
        Ok(outcomes)
    }

    /// Says that the holder of these leases lives.
    ///
    /// # Errors
    /// As [`Client::send_once`].
    pub async fn heartbeat(&self, worker: &str, leases: &[String]) -> Result<Beat, Error> {
        let body = serde_json::json!({ "worker": worker, "leases": leases });
        self.send_once(&Call::post("/kwq/heartbeat").json(&body)).await?.read()
    }

    /// Introduces a worker with its size.
    ///
    /// # Errors
    /// As [`Client::send_once`].
    pub async fn register(&self, body: &serde_json::Value) -> Result<(), Error> {
        self.send_once(&Call::post("/kwq/workers").json(body)).await.map(|_| ())
    }

    /// Removes a worker; what it still holds goes back.
    ///
    /// # Errors
    /// As [`Client::send_once`].
    pub async fn sign_off(&self, worker: &str) -> Result<(), Error> {
        let call = Call::delete(format!("/kwq/workers/{}", part(worker)));
        self.send_once(&call).await.map(|_| ())
    }
}

fn written(body: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(body).map_err(|error| Error::BadAnswer(error.to_string()))
}

fn poll_after(answer: &Answer) -> u64 {
    answer.header("kwq-poll-after-ms").and_then(|text| text.parse().ok()).unwrap_or(0)
}
