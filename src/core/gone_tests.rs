//! What is remembered of purges, and for how long.

use super::*;

const DAY_MS: u64 = 24 * HOUR_MS;

#[test]
fn what_was_purged_is_known_for_seven_days_and_then_forgotten() {
    let (mut gone, at) = (Gone::default(), WallMs(100 * DAY_MS));
    gone.add_job(&"night".into(), at);
    gone.add_tasks(TaskSeq(5), 3, at);
    gone.add_id(hash_of("t-1"), at);
    for (days, known) in [(0, true), (6, true), (8, false)] {
        let now = at.plus(days * DAY_MS);
        assert_eq!(gone.job("night", now), known, "{days}");
        assert_eq!(gone.task(TaskSeq(7), now), known, "{days}");
        assert_eq!(gone.id("t-1", now), known, "{days}");
        assert!(!gone.job("day", now) && !gone.task(TaskSeq(8), now) && !gone.id("t-2", now));
    }
    let later = at.plus(8 * DAY_MS);
    gone.add_job(&"day".into(), later);
    gone.add_tasks(TaskSeq(9), 1, later);
    assert_eq!((gone.jobs.len(), gone.oldest.len(), gone.hours.len()), (1, 1, 1));
    let again = Gone::restore(gone.columns());
    assert!(again.job("day", later) && again.task(TaskSeq(9), later));
}

#[test]
fn a_job_that_comes_and_goes_again_is_known_from_the_latest_purge_on() {
    let (mut gone, at) = (Gone::default(), WallMs(100 * DAY_MS));
    gone.add_job(&"night".into(), at);
    gone.add_job(&"night".into(), at.plus(5 * DAY_MS));
    assert!(gone.job("night", at.plus(10 * DAY_MS)));
    assert_eq!((gone.jobs.len(), gone.oldest.len()), (1, 1));
}

#[test]
fn the_number_of_jobs_remembered_is_bounded() {
    let mut gone = Gone::default();
    for n in 0..limits::PURGED_JOBS_MAX as u64 + 10 {
        gone.add_job(&format!("j{n}").into(), WallMs(n));
    }
    assert_eq!(gone.jobs.len(), limits::PURGED_JOBS_MAX);
    assert!(!gone.job("j9", WallMs(9)) && gone.job("j10", WallMs(10)));
}
