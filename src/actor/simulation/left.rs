//! Jobs of simulations whose process was killed: nobody serves them any more, so the next start
//! cancels them, as a stop would have.

use super::{STEP, Simulations, job_defaults, job_name};
use crate::actor::engine::lock;
use crate::actor::handle::Answer;
use crate::model::id::Name;
use crate::model::job::{CancelMode, JobChange};
use crate::model::view::JobView;

impl Simulations {
    /// Waits until the node is ready, then cancels the open jobs of earlier processes' simulations.
    pub async fn cancel_left(&self) {
        while !self.handle.readiness().draining {
            if self.handle.readiness().ready {
                match self.try_cancel_left().await {
                    Ok(()) => return,
                    Err(reject) => {
                        tracing::debug!(detail = %reject.detail, "jobs of simulations are left");
                    }
                }
            }
            tokio::time::sleep(STEP).await;
        }
    }

    async fn try_cancel_left(&self) -> Answer<()> {
        let jobs = self.handle.all_jobs().await?;
        for job in jobs.iter().filter(|job| !job.state.ended() && is_of_a_simulation(job)) {
            // Asked after the look at the jobs: one that began meanwhile is known by now.
            if lock(&self.all).iter().any(|simulation| simulation.jobs.contains(&job.id)) {
                continue;
            }
            let reason = Some(Name::from("its simulation ended with the process that ran it"));
            let cancel = JobChange::Cancel(CancelMode::Stop, reason);
            self.handle.change_job(job.id.clone(), cancel).await?;
            tracing::info!(job = %job.id, "cancelled, its simulation was lost with its process");
        }
        Ok(())
    }
}

/// Id, name and defaults are what a simulation gives its jobs. Not by the name alone: a job of
/// somebody else may be called "simulation" too.
fn is_of_a_simulation(job: &JobView) -> bool {
    let all =
        |text: &str, fits: fn(&u8) -> bool| !text.is_empty() && text.bytes().all(|b| fits(&b));
    let number = |text: &str| all(text, u8::is_ascii_digit);
    let id = match job.id.strip_prefix("sim-") {
        Some(rest) => match rest.split_once('-') {
            Some((hex, n)) if hex.len() == 16 && all(hex, u8::is_ascii_hexdigit) && number(n) => {
                job.id.strip_suffix(n).and_then(|id| id.strip_suffix('-'))
            }
            Some(_) | None => None,
        },
        None => job.id.strip_prefix("GroupId-").filter(|ms| number(ms)).map(|_| &*job.id),
    };
    let named = |id: &str| job.spec.name == Some(job_name(id));
    id.is_some_and(named) && job.spec.defaults == job_defaults()
}
