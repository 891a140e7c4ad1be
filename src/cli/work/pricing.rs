//! The demo's engine: prices options in this process and keeps the curves it has built, one set per
//! worker.

use super::child::End;
use crate::client::worker::{HandOut, Report};
use crate::sim::pricing::Pricer;
use std::sync::{Arc, Mutex, PoisonError};

/// The pricer of this process.
#[derive(Clone, Default)]
pub(super) struct Shared(Arc<Mutex<Pricer>>);

impl Shared {
    /// Prices one task; the curve is named by its first affinity key.
    pub(super) async fn run(self, task: &HandOut) -> End {
        let payload = match task.payload_bytes() {
            Ok(payload) => String::from_utf8_lossy(&payload).into_owned(),
            Err(error) => {
                return End::Report(Report::fail(
                    &task.lease,
                    "payload",
                    &error.to_string(),
                    false,
                ));
            }
        };
        let curve = task.affinity.first().map(|affinity| affinity.key.clone());
        let started = tokio::time::Instant::now();
        let priced = tokio::task::spawn_blocking(move || {
            let mut pricer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match curve {
                Some(curve) => pricer.price_with_curve(&curve, &payload),
                None => pricer.price(&payload),
            }
        });
        let priced = priced.await.unwrap_or_else(|error| Err(error.to_string()));
        let run_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        End::Report(match priced {
            Ok(result) => Report::complete(&task.lease, run_ms, result.into_bytes()),
            Err(message) => Report::fail(&task.lease, "pricing", &message, false),
        })
    }

    /// Keys whose curves are ready here.
    pub(super) fn warm_keys(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).warm_keys()
    }

    /// Hits, misses and seconds saved so far, as the parent reads them.
    pub(super) fn usage_line(&self) -> String {
        let usage = self.0.lock().unwrap_or_else(PoisonError::into_inner).curve_use();
        let saved = usage.saved_seconds();
        serde_json::json!({"hits": usage.hits, "misses": usage.misses, "savedSeconds": saved})
            .to_string()
    }
}
