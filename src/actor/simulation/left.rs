//! Jobs of simulations whose process was killed: nobody serves them any more, so the next start of
//! that instance cancels them, as a stop would have. Those of other instances go on.

use super::{STEP, Simulations, at_node, job_defaults, job_name};
use crate::actor::engine::lock;
use crate::actor::handle::Answer;
use crate::config::Backend;
use crate::model::id::Name;
use crate::model::job::{CancelMode, JobChange};
use crate::model::view::JobView;

/// Whose simulations are looked for.
enum Whose {
    /// Those of the instance with this name.
    Node(Name),
    /// All of them: the log is of one process at a time, and the host may have another name by now.
    Anybody,
}

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
        let whose = match self.handle.engine.config.log.backend {
            Backend::Embedded => Whose::Anybody,
            Backend::Kafka => Whose::Node(self.handle.node_name()),
        };
        let jobs = self.handle.all_jobs().await?;
        for job in jobs.iter().filter(|job| !job.state.ended() && is_of_a_simulation(job, &whose)) {
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
fn is_of_a_simulation(job: &JobView, whose: &Whose) -> bool {
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
    let name = job.spec.name.as_deref().unwrap_or_default();
    let named = |id: &str| match whose {
        Whose::Node(node) => *name == *job_name(id, node),
        Whose::Anybody => name.starts_with(&at_node(id)),
    };
    id.is_some_and(named) && job.spec.defaults == job_defaults()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actor::feed::tests::job;
    use crate::model::limits;

    fn of(node: &str, id: &str, job_id: &str) -> JobView {
        let mut view = job(job_id, 1);
        view.spec.name = Some(job_name(id, node));
        view.spec.defaults = job_defaults();
        view
    }

    #[test]
    fn a_job_of_a_simulation_is_that_of_its_node() {
        let long = |last: char| format!("{}{last}", "é".repeat(limits::NAME_BYTES_MAX / 2 - 1));
        let nodes = ["a".to_owned(), "a-1".to_owned(), long('x'), long('y')];
        let ids = [
            ("sim-0123456789abcdef", "sim-0123456789abcdef-1"),
            ("GroupId-1795521600000", "GroupId-1795521600000"),
        ];
        for (id, job_id) in ids {
            for node in &nodes {
                let view = of(node, id, job_id);
                let name = view.spec.name.as_deref().expect("a name");
                assert!(name.len() <= limits::NAME_BYTES_MAX, "{name}");
                assert!(is_of_a_simulation(&view, &Whose::Anybody), "{name}");
                for other in &nodes {
                    let theirs = Whose::Node(Name::from(other.as_str()));
                    assert_eq!(is_of_a_simulation(&view, &theirs), node == other, "{name}");
                }
            }
        }
        assert_eq!(&*job_name("sim-1", "kwq-0"), "simulation sim-1 at kwq-0");
    }

    #[test]
    fn what_only_looks_like_one_is_somebodys_own() {
        let id = "sim-0123456789abcdef";
        let renamed = JobView { spec: job("x", 0).spec, ..of("a", id, &format!("{id}-1")) };
        let others = [
            renamed,
            of("a", "sim-1", "sim-1-1"),
            of("a", id, "sim-fedcba9876543210-1"),
            of("a", id, "mine"),
            of("a", "GroupId-x", "GroupId-x"),
        ];
        for view in others {
            for whose in [Whose::Anybody, Whose::Node(Name::from("a"))] {
                assert!(!is_of_a_simulation(&view, &whose), "{}", view.id);
            }
        }
    }
}
