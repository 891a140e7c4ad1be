//! One request, its answer, and when it is sent again.

use super::{Client, Error, Problem};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;

/// Longest wait between two attempts, ms.
const WAIT_MS_MAX: u64 = 10_000;
/// First wait between two attempts, ms; doubles.
const WAIT_MS_FIRST: u64 = 100;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Call {
    method: reqwest::Method,
    path: String,
    query: Vec<(String, String)>,
    body: Option<(&'static str, Vec<u8>)>,
    headers: Vec<(&'static str, String)>,
    repeatable: bool,
    harmless: bool,
    keyed: bool,
    extra_wait: Duration,
}

/// An answer of class 2xx.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Body as sent.
    pub body: Vec<u8>,
    headers: HeaderMap,
}

impl Call {
    /// A read; may always be repeated.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self::of(reqwest::Method::GET, path.into(), true)
    }

    /// A verb that adds something each time it is sent.
    #[must_use]
    pub fn post(path: impl Into<String>) -> Self {
        Self::of(reqwest::Method::POST, path.into(), false)
    }

    /// A change to given values; repeating it changes nothing more.
    #[must_use]
    pub fn patch(path: impl Into<String>) -> Self {
        Self::of(reqwest::Method::PATCH, path.into(), true)
    }

    /// A removal.
    #[must_use]
    pub fn delete(path: impl Into<String>) -> Self {
        Self::of(reqwest::Method::DELETE, path.into(), true)
    }

    fn of(method: reqwest::Method, path: String, repeatable: bool) -> Self {
        let (query, headers, body) = (Vec::new(), Vec::new(), None);
        let (keyed, extra_wait) = (false, Duration::ZERO);
        let harmless = method == reqwest::Method::GET;
        Self { method, path, query, body, headers, repeatable, harmless, keyed, extra_wait }
    }

    /// Method and path, for what is said of it.
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Adds a query parameter.
    #[must_use]
    pub fn query(mut self, name: &str, value: impl ToString) -> Self {
        self.query.push((name.to_owned(), value.to_string()));
        self
    }

    /// Sends a JSON body.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string().into_bytes())
    }

    /// Sends a body of a given media type.
    #[must_use]
    pub fn body(mut self, kind: &'static str, bytes: Vec<u8>) -> Self {
        self.body = Some((kind, bytes));
        self
    }

    /// Sends a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Says that it changes nothing, so that a dry run may send it.
    #[must_use]
    pub fn harmless(mut self) -> Self {
        (self.harmless, self.repeatable) = (true, true);
        self
    }

    /// Says that sending it twice does what sending it once does.
    #[must_use]
    pub fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    /// Names the submit, which makes it repeatable.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.keyed = true;
        self.header("Idempotency-Key", key).repeatable()
    }

    /// Waits longer than the client's limit, for long polls.
    #[must_use]
    pub fn and_wait(mut self, extra: Duration) -> Self {
        self.extra_wait = extra;
        self
    }
}

impl Answer {
    /// Value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The cursor of the next page.
    #[must_use]
    pub fn next(&self) -> Option<&str> {
        self.header("kwq-next")
    }

    /// Reads the body as JSON.
    ///
    /// # Errors
    /// A body that is not what was expected.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| Error::BadAnswer(error.to_string()))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim_end().to_owned()
    }
}

impl Client {
    /// Sends a call and, as far as it is safe, sends it again.
    ///
    /// # Errors
    /// Everything but an answer of class 2xx.
    pub async fn send(&self, call: Call) -> Result<Answer, Error> {
        let (mut refused, mut unreached) = (0, 0);
        loop {
            let error = match self.send_once(&call).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let round = match self.may_repeat(&call, &error) {
                Repeat::Never => return Err(error),
                Repeat::Unreached if unreached >= self.options.connect_retries => {
                    return Err(error);
                }
                Repeat::Refused if refused >= self.options.retries => return Err(error),
                Repeat::Unreached => {
                    unreached += 1;
                    unreached
                }
                Repeat::Refused => {
                    refused += 1;
                    refused
                }
            };
            tokio::time::sleep(self.wait_before(round, &error)).await;
        }
    }

    /// Sends a submit under a key. A server without keys refuses them as `not_supported`; a key
    /// that nobody asked for (`own`) is then left out, which forbids repeats in doubt.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn send_keyed(&self, call: Call, key: &str, own: bool) -> Result<Answer, Error> {
        let plain = call.clone();
        match self.send(call.key(key)).await {
            Err(Error::Refused(problem)) if own && problem.refuses_keys() => self.send(plain).await,
            other => other,
        }
    }

    /// Sends a call exactly once.
    ///
    /// # Errors
    /// Everything but an answer of class 2xx.
    pub async fn send_once(&self, call: &Call) -> Result<Answer, Error> {
        if self.options.dry_run && !call.harmless {
            return Err(Error::DryRun(call.name()));
        }
        let url = self.address(&call.path, &call.query)?;
        let limit = self.options.timeout + call.extra_wait;
        let mut request = self.http.request(call.method.clone(), url).timeout(limit);
        if let Some(token) = &self.options.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        if let Some((kind, bytes)) = &call.body {
            request = request.header(CONTENT_TYPE, *kind).body(bytes.clone());
        }
        let response = request.send().await.map_err(|error| self.fault(call, &error))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.map_err(|error| self.fault(call, &error))?.to_vec();
        if (200..300).contains(&status) {
            return Ok(Answer { status, body, headers });
        }
        Err(refusal(status, &headers, &body))
    }

    fn address(&self, path: &str, query: &[(String, String)]) -> Result<reqwest::Url, Error> {
        let text = format!("{}{path}", self.options.url);
        let mut url = reqwest::Url::parse(&text)
            .map_err(|error| Error::BadUrl(text.clone(), error.to_string()))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    fn may_repeat(&self, call: &Call, error: &Error) -> Repeat {
        match error {
            Error::Unreachable { .. } => Repeat::Unreached,
            Error::Broken { .. } if call.repeatable => Repeat::Refused,
            // A keyed submit is worth a second wait: given up it would be in doubt for ever.
            Error::Timeout { .. } if call.keyed => Repeat::Refused,
            Error::Refused(problem) => match problem.status {
                429 | 503 if problem.not_applied || call.repeatable => Repeat::Refused,
                409 if problem.code == "idempotency_in_progress" => Repeat::Refused,
                404 if problem.code == "not_admitted" => Repeat::Refused,
                _ => Repeat::Never,
            },
            Error::BadUrl(..) | Error::Broken { .. } | Error::Timeout { .. } => Repeat::Never,
            Error::BadAnswer(_) | Error::DryRun(_) | Error::Setup(_) => Repeat::Never,
        }
    }

    fn wait_before(&self, round: u32, error: &Error) -> Duration {
        let doubled = WAIT_MS_FIRST << (round - 1).min(7);
        let asked = error.problem().and_then(|problem| problem.retry_after_ms);
        self.jittered(asked.unwrap_or(doubled).min(WAIT_MS_MAX))
    }

    /// What a failure of the transport means for the caller.
    pub(super) fn fault(&self, call: &Call, error: &reqwest::Error) -> Error {
        let url = self.options.url.clone();
        if error.is_connect() {
            return Error::Unreachable { url, cause: root_cause(error) };
        }
        if error.is_timeout() {
            let within = self.options.timeout + call.extra_wait;
            return Error::Timeout { url, call: call.name(), within };
        }
        Error::Broken { url, cause: root_cause(error) }
    }
}

enum Repeat {
    Never,
    Unreached,
    Refused,
}

/// Joins the body of a refusal with its headers.
pub(super) fn refusal(status: u16, headers: &HeaderMap, body: &[u8]) -> Error {
    let mut problem = Problem::read(status, body);
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    problem.not_applied = header("kwq-applied") == Some("no");
    if problem.retry_after_ms.is_none() {
        let seconds = header("retry-after").and_then(|text| text.parse::<u64>().ok());
        problem.retry_after_ms = seconds.map(|s| s.saturating_mul(1_000));
    }
    Error::Refused(Box::new(problem))
}

/// The innermost cause, which names what the system said.
pub(super) fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// A path part with everything escaped that is not plainly a letter, digit or `-._~`.
#[must_use]
pub fn part(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
