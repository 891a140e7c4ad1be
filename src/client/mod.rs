//! The typed client of the REST API: one keep-alive connection pool, retries that cannot double
//! work, NDJSON upload.
//!
//! A call is repeated by itself when the answer says that nothing was applied (`Kwq-Applied: no`),
//! or when the call is idempotent by nature or by key. Everything else is handed back with its
//! cause.
//!
//! Must not: print, exit, or know the engine; it speaks HTTP like any other client.

pub mod base64;
pub mod call;
pub mod error;
pub mod peer;
pub mod upload;
pub mod verbs;
pub mod worker;

#[cfg(test)]
mod tests;

pub use call::{Answer, Call};
pub use error::{Error, Problem};
pub use peer::{PeerClient, PeerError};

use crate::clock::{Entropy, SystemEntropy};
use std::sync::Arc;
use std::time::Duration;

/// How a client is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Root of the server, such as `http://127.0.0.1:8080`.
    pub url: String,
    /// Bearer token.
    pub token: Option<String>,
    /// Limit of one request, connection included.
    pub timeout: Duration,
    /// Repeats of a call after a refusal that is safe to repeat.
    pub retries: u32,
    /// Repeats while nobody listens; 0 tells the caller at once.
    pub connect_retries: u32,
    /// Reads only: a call that would change something is not sent.
    pub dry_run: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:8080".to_owned(),
            token: None,
            timeout: Duration::from_secs(30),
            retries: 5,
            connect_retries: 0,
            dry_run: false,
        }
    }
}

/// A client of one server; cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    options: Arc<Options>,
    entropy: Arc<dyn Entropy>,
}

impl Client {
    /// A client; nothing is connected yet.
    ///
    /// # Errors
    /// An address that is no `http://` URL.
    pub fn new(mut options: Options) -> Result<Self, Error> {
        while options.url.ends_with('/') {
            options.url.pop();
        }
        if options.url.starts_with("https://") {
            return Err(Error::BadUrl(options.url, "https is not in this release".to_owned()));
        }
        let parsed = reqwest::Url::parse(&options.url)
            .map_err(|error| Error::BadUrl(options.url.clone(), error.to_string()))?;
        if parsed.scheme() != "http" || parsed.host_str().is_none() {
            return Err(Error::BadUrl(options.url, "write http://HOST:PORT".to_owned()));
        }
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_secs(5))
            .build()
            .map_err(|error| Error::BadUrl(options.url.clone(), error.to_string()))?;
        Ok(Self { http, options: Arc::new(options), entropy: Arc::new(SystemEntropy) })
    }

    /// Root of the server.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.options.url
    }

    /// 16 hex digits nobody can guess: names of workers, keys of submits.
    #[must_use]
    pub fn fresh_name(&self) -> String {
        fresh_name()
    }

    /// `ms` with up to a quarter added by chance, so that a crowd does not come back as one.
    #[must_use]
    pub fn jittered(&self, ms: u64) -> Duration {
        let spread = ms / 4 + 1;
        Duration::from_millis(ms.saturating_add(self.entropy.next_u64() % spread))
    }
}

/// 16 hex digits nobody can guess, without a client.
#[must_use]
pub fn fresh_name() -> String {
    format!("{:016x}", SystemEntropy.next_u64())
}
