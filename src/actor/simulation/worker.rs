//! A simulated worker: asks, waits as long as the run would take, reports with the next call.
//! When a run draws a crash it forgets the lease, as a process that dies would.

use super::{STEP, Simulation};
use crate::actor::engine::lock;
use crate::actor::request::{ConsumeRequest, HeartbeatRequest};
use crate::model::affinity::AffinityMode;
use crate::model::command::ALL_LEVELS;
use crate::model::id::Name;
use crate::model::lease::LeaseToken;
use crate::model::limits;
use crate::model::report::{Report, Verb};
use crate::model::view::HandOut;
use crate::sim::draws::{self, End};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Wait of a consume, ms.
const WAIT_MS: u64 = 5_000;
/// Lease it asks for, ms: a simulated crash is noticed after it.
const LEASE_MS: u32 = 10_000;

pub(super) struct SimulatedWorker {
    simulation: Arc<Simulation>,
    name: Name,
}

impl SimulatedWorker {
    pub(super) fn new(simulation: Arc<Simulation>, n: u32) -> Self {
        let name = simulation.worker_name(n);
        Self { simulation, name }
    }

    /// Works until it is dropped.
    pub(super) async fn work(self) {
        let mut done = Vec::new();
        loop {
            let asked = Instant::now();
            let request = self.request(std::mem::take(&mut done));
            let reports = request.done.clone();
            match self.simulation.handle.consume(request).await {
                Ok(answer) => {
                    for task in &answer.tasks {
                        done.extend(self.run(task).await);
                    }
                    // Not parked: nobody may ask again at once.
                    if answer.tasks.is_empty() && asked.elapsed() < STEP {
                        tokio::time::sleep(STEP).await;
                    }
                }
                // The reports may or may not be applied; tokens make the repeat safe.
                Err(_) => {
                    done = reports;
                    tokio::time::sleep(STEP).await;
                }
            }
        }
    }

    fn request(&self, done: Vec<Report>) -> ConsumeRequest {
        ConsumeRequest {
            worker: self.name.clone(),
            endpoint: None,
            max: 1,
            wait_ms: WAIT_MS,
            target_ms: None,
            max_bytes: limits::CONSUME_BYTES,
            lease_ms: Some(LEASE_MS),
            seed_lease: false,
            levels: ALL_LEVELS,
            jobs: Vec::new(),
            warm: Vec::new(),
            mode: AffinityMode::Prefer,
            done,
            leases: None,
        }
    }

    /// Runs a task as the plan draws it; what is to be reported.
    async fn run(&self, task: &HandOut) -> Option<Report> {
        let grant = &task.grant;
        let waited = grant.allocated.0.saturating_sub(grant.available.0);
        lock(&self.simulation.progress).waits.record(waited.saturating_mul(1_000));
        let text = std::str::from_utf8(&task.spec.payload.bytes).unwrap_or_default();
        let drawn = draws::run(&self.simulation.plan, text.parse().unwrap_or(0), grant.attempt);
        self.hold(grant.token, Duration::from_millis(drawn.ms)).await;
        let run_ms = Some(drawn.ms);
        let verb = match drawn.end {
            End::Crash => return None,
            End::Complete => Verb::Complete { result: None, run_ms },
            End::Fail => Verb::Fail {
                class: Name::from("simulated"),
                message: Name::from("the plan drew a failure"),
                retryable: true,
                retry_after_ms: None,
                run_ms,
            },
        };
        Some(Report { token: Some(grant.token), worker: None, verb })
    }

    /// Waits out a run and keeps its lease alive meanwhile.
    async fn hold(&self, token: LeaseToken, run: Duration) {
        let end = Instant::now() + run;
        let beat = Duration::from_millis(u64::from(LEASE_MS) / 3);
        while Instant::now() + beat < end {
            tokio::time::sleep(beat).await;
            let worker = self.name.clone();
            let renew = HeartbeatRequest { worker, leases: Some(vec![Ok(token)]), warm: None };
            // A lost lease shows in the verdict of the report.
            drop(self.simulation.handle.heartbeat(renew).await);
        }
        tokio::time::sleep_until(end).await;
    }
}
