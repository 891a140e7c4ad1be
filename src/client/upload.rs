//! NDJSON upload of any length: lines are cut into chunks that are sent one after another, each
//! under its own key, so memory is bounded, progress is known, and a broken connection costs one
//! chunk.

use super::verbs::job_path;
use super::{Call, Client, Error};
use serde::Deserialize;
use serde_json::Value;

/// Lines of a chunk.
pub const CHUNK_LINES: usize = 5_000;
/// Bytes of a chunk.
pub const CHUNK_BYTES: usize = 4 << 20;

/// Sum over the chunks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Uploaded {
    /// Tasks durable.
    pub accepted: u64,
    /// Tasks that were there.
    pub duplicates: u64,
    /// Tasks refused.
    pub rejected: u64,
    /// Lines read.
    pub lines: u64,
    /// Chunks sent.
    pub chunks: u64,
    /// First refusals, with line numbers of the whole input.
    pub errors: Vec<Value>,
}

/// Refusals kept.
const ERRORS_KEPT: usize = 1_000;

#[derive(Deserialize)]
struct ChunkAnswer {
    #[serde(default)]
    accepted: u64,
    #[serde(default)]
    duplicates: u64,
    #[serde(default)]
    rejected: u64,
    #[serde(default)]
    results: Vec<Value>,
}

/// Name of an upload.
#[derive(Clone, Debug)]
pub enum Key {
    /// Given by the user: repeating the upload under it does only what is missing.
    Given(String),
    /// Made up: guards the repeats of this process, where the server knows keys.
    Own(String),
}

/// An upload in progress.
pub struct Upload {
    client: Client,
    /// Job route, or the route where each line names its job.
    path: String,
    key: Key,
    buffer: Vec<u8>,
    buffered: u64,
    sum: Uploaded,
    /// References of durable tasks that nobody took yet; `None` = not asked for.
    refs: Option<Vec<String>>,
}

impl Upload {
    /// Begins an upload into a job, or (without) into the job each line names. The same key over
    /// the same lines does only what is missing.
    #[must_use]
    pub fn new(client: Client, job: Option<&str>, key: Key) -> Self {
        let path =
            job.map_or_else(|| "/kwq/submit".to_owned(), |job| format!("{}/tasks", job_path(job)));
        let (buffer, sum) = (Vec::new(), Uploaded::default());
        Self { client, path, key, buffer, buffered: 0, sum, refs: None }
    }

    /// Asks for the reference of every task; take them by [`Upload::refs`].
    #[must_use]
    pub fn with_refs(mut self) -> Self {
        self.refs = Some(Vec::new());
        self
    }

    /// References of the tasks that became durable since the last look, in order.
    pub fn refs(&mut self) -> Vec<String> {
        self.refs.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Adds a line (without its end); sends a chunk when one is full.
    ///
    /// # Errors
    /// As [`Client::send`]; what was sent before stays.
    pub async fn line(&mut self, line: &[u8]) -> Result<(), Error> {
        if !self.buffer.is_empty() && self.buffer.len() + line.len() + 1 > CHUNK_BYTES {
            self.flush().await?;
        }
        self.buffer.extend_from_slice(line);
        self.buffer.push(b'\n');
        self.buffered += 1;
        if self.buffered >= CHUNK_LINES as u64 {
            self.flush().await?;
        }
        Ok(())
    }

    /// Sends what is left and sums up.
    ///
    /// # Errors
    /// As [`Upload::line`].
    pub async fn finish(&mut self) -> Result<&Uploaded, Error> {
        self.flush().await?;
        Ok(&self.sum)
    }

    /// The sum so far.
    #[must_use]
    pub fn sum(&self) -> &Uploaded {
        &self.sum
    }

    async fn flush(&mut self) -> Result<(), Error> {
        if self.buffered == 0 {
            return Ok(());
        }
        let mut call = Call::post(self.path.clone())
            .body("application/x-ndjson", std::mem::take(&mut self.buffer));
        if self.refs.is_some() {
            call = call.query("results", "all");
        }
        let (key, own) = match &self.key {
            Key::Given(key) => (key, false),
            Key::Own(key) => (key, true),
        };
        let key = format!("{key}-{}", self.sum.chunks);
        let sent = self.client.send_keyed(call, &key, own).await;
        let answer: ChunkAnswer = sent.map_err(|error| self.placed(error))?.read()?;
        self.sum.accepted += answer.accepted;
        self.sum.duplicates += answer.duplicates;
        self.sum.rejected += answer.rejected;
        self.keep_results(answer.results);
        self.sum.lines += self.buffered;
        self.sum.chunks += 1;
        self.buffered = 0;
        Ok(())
    }

    /// The server counts the lines of a chunk, people those of their file.
    fn placed(&mut self, mut error: Error) -> Error {
        if let Error::Refused(problem) = &mut error
            && let Some(next) = problem.next_line
        {
            let place = format!("line {next} ");
            let rest = problem.detail.strip_prefix(&place).unwrap_or(&problem.detail).to_owned();
            problem.next_line = Some(next + self.sum.lines);
            problem.detail = format!("line {} {rest}", next + self.sum.lines);
            self.sum.accepted += problem.accepted.unwrap_or(0);
            self.sum.lines += next - 1;
        }
        error
    }

    fn keep_results(&mut self, results: Vec<Value>) {
        for mut result in results {
            if result.get("code").is_none() {
                let reference = result.get("ref").and_then(Value::as_str);
                if let Some((refs, reference)) = self.refs.as_mut().zip(reference) {
                    refs.push(reference.to_owned());
                }
                continue;
            }
            if self.sum.errors.len() == ERRORS_KEPT {
                continue;
            }
            if let Some(line) = result.get("line").and_then(Value::as_u64) {
                result["line"] = Value::from(line + self.sum.lines);
                self.sum.errors.push(result);
            }
        }
    }
}
