//! What every task of the mixed scenario is, what must become of it, and what did.

use serde::Serialize;

/// Jobs of the scenario.
pub(super) const JOBS: u64 = 50;
const JOBS_LEN: usize = 50;
const _: () = assert!(JOBS_LEN as u64 == JOBS);
/// The job that is cancelled half-way.
pub(super) const CANCELLED: u64 = 7;
/// Levels in turn.
pub(super) const PRIORITIES: [u8; 3] = [2, 5, 8];
/// Distinct affinity keys.
const KEYS: u64 = 16;

/// How the first attempt of a task goes; every later one completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// It completes.
    Completes,
    /// It fails and is repeated.
    Fails,
    /// It fails for good; a redrive brings it back.
    Dies,
    /// Its worker is lost.
    Lost,
}

/// Of a thousand first attempts ten fail, a quarter of them for good, and of another thousand one
/// loses its worker.
pub(super) fn first(n: u64) -> First {
    let drawn = mixed(n);
    match (drawn % 1_000, drawn / 1_000 % 4) {
        (0..10, 0) => First::Dies,
        (0..10, _) => First::Fails,
        (10, _) => First::Lost,
        _ => First::Completes,
    }
}

pub(super) fn job(n: u64) -> u64 {
    n % JOBS
}

pub(super) fn priority(n: u64) -> u8 {
    PRIORITIES[place(n / JOBS % 3)]
}

pub(super) fn key(n: u64) -> u64 {
    mixed(n ^ 0x5555) % KEYS
}

/// Is the job paused for a while?
pub(super) fn is_paused(job: u64) -> bool {
    job % 10 == 3
}

fn place(n: u64) -> usize {
    usize::try_from(n).expect("there are fewer tasks than bytes of memory")
}

/// splitmix64 (Steele, Lea, Flood 2014).
fn mixed(n: u64) -> u64 {
    let z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// Counters of one job, as its clients counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JobBooks {
    pub(super) submitted: u64,
    pub(super) handed_out: u64,
    pub(super) completed: u64,
    pub(super) failed: u64,
    pub(super) lost: u64,
    pub(super) dead: u64,
}

/// Every task.
pub(super) struct Books {
    pub(super) jobs: Vec<JobBooks>,
    /// Hand-outs by task.
    handed: Vec<u8>,
    /// Accepted completions by task.
    done: Vec<u8>,
    admitted: Vec<bool>,
    /// What contradicts the contract; the first are kept.
    pub(super) findings: Vec<String>,
}

/// Findings that are kept.
const FINDINGS_MAX: usize = 20;

impl Books {
    pub(super) fn new(tasks: u64) -> Self {
        let tasks = place(tasks);
        Self {
            jobs: vec![JobBooks::default(); JOBS_LEN],
            handed: vec![0; tasks],
            done: vec![0; tasks],
            admitted: vec![false; tasks],
            findings: Vec::new(),
        }
    }

    pub(super) fn of(&mut self, n: u64) -> &mut JobBooks {
        &mut self.jobs[place(job(n))]
    }

    pub(super) fn found(&mut self, finding: String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }

    pub(super) fn admitted(&mut self, n: u64) {
        self.admitted[place(n)] = true;
        self.of(n).submitted += 1;
    }

    /// A hand-out with its attempt number.
    pub(super) fn handed(&mut self, n: u64, attempt: u32) {
        self.of(n).handed_out += 1;
        let handed = &mut self.handed[place(n)];
        *handed = handed.saturating_add(1);
        if u32::from(*handed) != attempt {
            let before = *handed;
            self.found(format!("task {n}: attempt {attempt} is hand-out number {before}"));
        }
    }

    pub(super) fn completed(&mut self, n: u64) {
        self.of(n).completed += 1;
        self.done[place(n)] += 1;
        if self.done[place(n)] > 1 {
            self.found(format!("task {n}: completed twice"));
        }
    }

    /// Completions accepted.
    pub(super) fn completions(&self) -> u64 {
        self.jobs.iter().map(|job| job.completed).sum()
    }

    /// Tasks that die and are redriven: those of the cancelled job stay as they are.
    pub(super) fn redrivable(&self) -> u64 {
        let jobs = self.jobs.iter().enumerate().filter(|(job, _)| *job as u64 != CANCELLED);
        jobs.map(|(_, books)| books.dead).sum()
    }

    /// Every admitted task of a job that lived on has completed once, after as many attempts as its
    /// number says.
    pub(super) fn close(&mut self) {
        for n in 0..self.handed.len() as u64 {
            let at = place(n);
            if job(n) == CANCELLED {
                continue;
            }
            let wanted = if first(n) == First::Completes { 1 } else { 2 };
            let (handed, done, admitted) = (self.handed[at], self.done[at], self.admitted[at]);
            if !admitted || done != 1 {
                self.found(format!("task {n}: admitted {admitted}, completed {done} times"));
            } else if handed != wanted {
                self.found(format!("task {n}: {handed} attempts instead of {wanted}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_draws_have_their_shares() {
        let of = |kind: First| (0..1_000_000).filter(|n| first(*n) == kind).count();
        let (dies, fails, lost) = (of(First::Dies), of(First::Fails), of(First::Lost));
        assert!((2_300..2_700).contains(&dies), "{dies}");
        assert!((7_200..7_800).contains(&fails), "{fails}");
        assert!((900..1_100).contains(&lost), "{lost}");
        assert!((0..KEYS).all(|k| (0..1_000).any(|n| key(n) == k)));
    }

    #[test]
    fn books_find_what_was_lost_doubled_or_tried_too_often() {
        let clean = |n: u64| first(n) == First::Completes && job(n) != CANCELLED;
        let (a, b) = (1, (2..50).find(|n| clean(*n)).expect("most are"));
        assert!(clean(a));
        let mut books = Books::new(50);
        for n in 0..50 {
            books.admitted(n);
            let attempts = if first(n) == First::Completes { 1 } else { 2 };
            (1..=attempts).for_each(|attempt| books.handed(n, attempt));
            if n != a {
                books.completed(n);
            }
        }
        books.completed(b);
        books.handed(b, 2);
        books.close();
        assert_eq!(books.findings.len(), 3, "{:?}", books.findings);
    }
}
