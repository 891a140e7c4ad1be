//! Reading a partition: jobs, levels, leases, where a task's text lies. Changes nothing.

use crate::core::intern::ClassKey;
use crate::core::job::JobRow;
use crate::core::lanes::Level;
use crate::core::partition::Partition;
use crate::core::rows::{ArrayRow, Placed};
use crate::core::stats::Stats;
use crate::model::access::Scopes;
use crate::model::id::{Epoch, Name, Position, TaskSeq};
use crate::model::lease::LeaseToken;
use crate::model::limits;
use crate::model::priority::Priority;
use crate::model::question::{Holder, LevelPart};
use crate::model::time::WallMs;
use crate::model::view::JobNumbers;
use crate::model::worker::HeldTask;

impl Partition {
    /// A job as this partition sees it.
    #[must_use]
    pub fn job_row(&self, name: &str) -> Option<&JobRow> {
        self.job_keys.get(name).map(|key| self.job(*key))
    }

    /// All jobs in order of their slots.
    pub fn job_rows(&self) -> impl Iterator<Item = &JobRow> {
        self.jobs.iter().filter(|job| !job.vacant)
    }

    /// Numbers of a job, with the age of its oldest pending task.
    #[must_use]
    pub fn job_numbers(&self, job: &JobRow) -> JobNumbers {
        let mut numbers = job.numbers.clone();
        let heads = job.lanes.iter().filter_map(crate::core::lanes::Lane::head);
        numbers.oldest_pending = heads.min().map_or(WallMs(0), |seq| self.rows.submitted(seq));
        numbers
    }

    /// Levels, 1 first.
    #[must_use]
    pub fn level_parts(&self) -> [LevelPart; Priority::LEVELS] {
        std::array::from_fn(|level| {
            let mut part = LevelPart { paused: self.levels[level].paused, ..LevelPart::default() };
            let mut oldest: Option<TaskSeq> = None;
            for job in &self.jobs {
                part.counts.merge(&job.by_level[level]);
                if let Some(head) = job.lanes[level].head() {
                    part.lanes += 1;
                    oldest = Some(oldest.map_or(head, |o| o.min(head)));
                }
            }
            part.oldest = oldest.map_or(WallMs(0), |seq| self.rows.submitted(seq));
            part
        })
    }

    /// Elements of a job's arrays that have this value, oldest first.
    #[must_use]
    pub fn elements(&self, job: &Name, value: u64) -> Vec<TaskSeq> {
        let of_job = |class: ClassKey| {
            let class = self.classes.value(class.0);
            self.job(class.job).name == *job
        };
        let arrays = self.rows.arrays().iter().filter(|array| of_job(array.class));
        let element = |array: &ArrayRow| Some(array.first.plus(array.span.place(value)?));
        arrays.filter_map(element).collect()
    }

    /// Where the text of a live or dead task lies.
    #[must_use]
    pub fn text_at(&self, seq: TaskSeq) -> Option<Placed> {
        self.rows.placed(seq)
    }

    /// Record of the latest failure of a task that is not over; `None` while it is not durable.
    #[must_use]
    pub fn failed_at(&self, seq: TaskSeq) -> Option<Position> {
        self.touched.get(&seq)?.failed
    }

    /// Tasks whose client id may be this one, newest first; the caller compares the text.
    pub fn id_candidates(&self, id: &str) -> impl Iterator<Item = TaskSeq> + '_ {
        self.ids.candidates(id)
    }

    /// Token of the live lease of a task, if `worker` (when given) holds it.
    #[must_use]
    pub fn live_token(&self, seq: TaskSeq, worker: Option<&Name>) -> Option<LeaseToken> {
        let number = self.touched.get(&seq)?.lease;
        let lease = self.leases.get(number).filter(|l| l.seq == seq)?;
        let holder = self.workers.value(lease.worker.0);
        worker.is_none_or(|w| w == holder).then(|| self.leases.token(self.id, number))
    }

    /// Its latest epoch with the token key of that `Owner` record.
    #[must_use]
    pub fn latest_key(&self) -> Option<(Epoch, [u64; 2])> {
        self.leases.latest_key()
    }

    /// Token key of its first epoch.
    #[must_use]
    pub fn first_key(&self) -> [u64; 2] {
        self.leases.first_key()
    }

    /// The task a token was granted for, as long as it is remembered.
    #[must_use]
    pub fn leased_task(&self, token: &LeaseToken) -> Option<TaskSeq> {
        let genuine = self.leases.genuine(token);
        genuine.then(|| self.leases.remembered(token.number, self.rows.next()))?.map(|r| r.seq)
    }

    /// The task of a token with its job; of a task that is over the job is not known here.
    #[must_use]
    pub fn leased_job(&self, token: &LeaseToken) -> Option<(TaskSeq, Option<Name>)> {
        let seq = self.leased_task(token)?;
        Some((seq, self.job_of(seq)))
    }

    /// Leases a heartbeat of all of a worker's would tell of, with their jobs: live ones, and those
    /// it has to stop.
    #[must_use]
    pub fn told_leases(&self, worker: &Name) -> Vec<(LeaseToken, Name)> {
        let Some(key) = self.workers.known(worker) else { return Vec::new() };
        let key = crate::core::intern::WorkerKey(key);
        let stopped = self.leases.cancelled_of(key, self.now.wall);
        let numbers = self.leases.of_worker(key).into_iter().chain(stopped);
        let told = numbers.filter_map(|number| {
            let seq = self.leases.remembered(number, self.rows.next())?.seq;
            Some((self.leases.token(self.id, number), self.job_of(seq)?))
        });
        told.collect()
    }

    /// Shortest lease a worker holds here, ms: of all, and of tasks inside the scopes.
    #[must_use]
    pub fn shortest_leases(&self, worker: &Name, scopes: &Scopes) -> (Option<u32>, Option<u32>) {
        let Some(key) = self.workers.known(worker) else { return (None, None) };
        let key = crate::core::intern::WorkerKey(key);
        let shortest = self.leases.shortest_of(key);
        if scopes.everything() {
            return (shortest, shortest);
        }
        let leases = self.leases.of_worker(key).into_iter().filter_map(|n| self.leases.get(n));
        let own =
            leases.filter(|lease| self.job_of(lease.seq).is_some_and(|job| scopes.cover(&job)));
        (shortest, own.map(|lease| lease.lease_ms).min())
    }

    /// Job of a task that is not over.
    #[must_use]
    pub fn job_of(&self, seq: TaskSeq) -> Option<Name> {
        self.class(seq).map(|class| self.job(class.job).name.clone())
    }

    /// Workers that get no work.
    pub fn drained(&self) -> impl Iterator<Item = &Name> {
        self.drained.iter()
    }

    /// Live leases.
    #[must_use]
    pub fn lease_count(&self) -> usize {
        self.leases.len()
    }

    /// When the oldest live lease was granted.
    #[must_use]
    pub fn oldest_lease(&self) -> Option<WallMs> {
        self.leases.iter().map(|(_, lease)| lease.allocated).min()
    }

    /// Who holds live leases of tasks inside the scopes. A worker may appear more than once.
    #[must_use]
    pub fn lease_holders(&self, scopes: &Scopes) -> Vec<Holder> {
        let mut holders: Vec<Holder> = Vec::new();
        let inside = |seq| self.job_of(seq).is_some_and(|job| scopes.cover(&job));
        for (_, lease) in self.leases.iter() {
            if !scopes.everything() && !inside(lease.seq) {
                continue;
            }
            let (name, lease_ms) = (self.workers.value(lease.worker.0), lease.lease_ms);
            match holders.last_mut() {
                Some(last) if last.worker == *name => {
                    last.leases += 1;
                    last.shortest_ms = last.shortest_ms.min(lease_ms);
                }
                _ => {
                    let worker = name.clone();
                    holders.push(Holder { worker, leases: 1, shortest_ms: lease_ms });
                }
            }
        }
        holders
    }

    /// Tasks a worker holds, at most 1,000.
    #[must_use]
    pub fn held_by(&self, worker: &Name) -> Vec<HeldTask> {
        let Some(key) = self.workers.known(worker) else { return Vec::new() };
        let key = crate::core::intern::WorkerKey(key);
        let numbers = self.leases.of_worker(key).into_iter().take(limits::PAGE_MAX);
        let held = numbers.filter_map(|number| {
            let lease = self.leases.get(number)?;
            let class = self.class(lease.seq)?;
            Some(HeldTask {
                reference: self.reference(lease.seq)?,
                job: self.job(class.job).name.clone(),
                attempt: lease.attempt,
                allocated: lease.allocated,
            })
        });
        held.collect()
    }

    /// Tasks that may be handed out right now.
    #[must_use]
    pub fn ready_tasks(&self) -> u64 {
        self.levels.iter().map(Level::ready_tasks).sum()
    }

    /// Counters since the partition was loaded.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Tasks that are not over.
    #[must_use]
    pub fn live_tasks(&self) -> u64 {
        self.jobs.iter().map(|job| job.numbers.counts.live()).sum()
    }

    /// Tasks admitted ever.
    #[must_use]
    pub fn admitted(&self) -> TaskSeq {
        self.rows.next()
    }
}
