//! What the handlers are given: the engine, the settings that show in answers, the phase of the
//! process.

use crate::actor::handle::KwqHandle;
use crate::actor::simulation::Simulations;
use crate::api::auth::Guard;
use crate::api::cursor::Seal;
use crate::api::problem::Problem;
use crate::api::sse::Seats;
use crate::codec::wire::field::Rules;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::model::access::Scopes;
use crate::model::id::Name;
use crate::model::reject::{Code, Reject};
use crate::store::audit::Audit;
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;

/// Everything the interface needs from the composition root.
#[derive(Clone)]
pub struct ApiContext {
    /// The engine.
    pub handle: KwqHandle,
    /// The configuration in force.
    pub config: Arc<Config>,
    /// Where it counts, and what `/metrics` shows.
    pub metrics: Metrics,
    /// Who is let in.
    pub guard: Arc<Guard>,
    /// Where mutating calls are recorded.
    pub audit: Option<Arc<Audit>>,
    /// Simulations; `None` = the simulator is off.
    pub simulations: Option<Arc<Simulations>>,
    /// Version of the product.
    pub version: Name,
}

impl ApiContext {
    /// A context over an engine, without tokens and without an audit trail.
    #[must_use]
    pub fn new(handle: KwqHandle, config: &Config, metrics: Metrics) -> Self {
        Self {
            handle,
            config: Arc::new(config.clone()),
            metrics,
            guard: Arc::default(),
            audit: None,
            simulations: None,
            version: Arc::from(env!("CARGO_PKG_VERSION")),
        }
    }
}

/// How far the process is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Everything is served.
    Serving,
    /// Reports only; consumes answer 204.
    Draining,
    /// Connections end after the request in hand.
    Closing,
    /// Connections end now.
    Ended,
}

/// The context plus what the interface owns itself.
pub(crate) struct Shared {
    pub(crate) api: ApiContext,
    pub(crate) phase: watch::Receiver<Phase>,
    /// Places of streams of events.
    pub(crate) seats: Arc<Seats>,
    seal: Arc<OnceLock<Seal>>,
}

impl Shared {
    pub(crate) fn new(api: ApiContext, phase: watch::Receiver<Phase>) -> Self {
        let seats = Seats::new(api.config.http.max_connections, api.metrics.clone());
        Self { api, phase, seats: Arc::new(seats), seal: Arc::default() }
    }

    /// The same, but its engine reaches only jobs of these scopes.
    pub(crate) fn within(&self, scopes: Scopes) -> Self {
        let handle = self.api.handle.within(scopes);
        Self {
            api: ApiContext { handle, ..self.api.clone() },
            phase: self.phase.clone(),
            seats: Arc::clone(&self.seats),
            seal: Arc::clone(&self.seal),
        }
    }

    /// Signs cursors with a key of the log, so that they outlive a restart.
    pub(crate) async fn seal(&self) -> Result<&Seal, Reject> {
        if let Some(seal) = self.seal.get() {
            return Ok(seal);
        }
        let key = self.api.handle.log_key().await?;
        Ok(self.seal.get_or_init(|| Seal::new(key)))
    }

    pub(crate) fn draining(&self) -> bool {
        *self.phase.borrow() >= Phase::Draining
    }

    /// A refusal with the bound it names.
    pub(crate) fn refusal(&self, reject: Reject) -> Problem {
        let limits = self.api.config.limits;
        let bounds = [
            (Code::PayloadTooLarge, limits.payload),
            (Code::ResultTooLarge, limits.result),
            (Code::TooManyItems, limits.batch_items),
        ];
        let limit = bounds.into_iter().find(|(code, _)| *code == reject.code).map(|(_, n)| n);
        let problem = Problem::from(reject);
        match limit {
            Some(limit) => problem.limit(limit),
            None => problem,
        }
    }

    /// Rules for a body of this moment.
    pub(crate) fn rules(&self, lenient: bool) -> Rules {
        Rules {
            lenient,
            payload_bytes_max: self.api.config.limits.payload,
            result_bytes_max: self.api.config.limits.result,
            array_max: self.api.config.limits.array,
            now: self.api.handle.now().wall,
        }
    }
}
