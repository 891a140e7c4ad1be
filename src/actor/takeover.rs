//! How partitions come up: all at the first start of a node, single ones when they fell or are
//! taken over.

use crate::actor::engine::Engine;
use crate::actor::node::OpenLog;
use crate::actor::recovery::{self, Claim, Recipe, Recovered, Replayed};
use crate::actor::standby::Standby;
use crate::actor::tracker::TrackerState;
use crate::log::{Error, EventLog};
use crate::model::id::{PartitionId, Position};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Takes partitions (again): what is followed goes on from there, the rest from its newest image.
/// With `reopen` the log is opened first.
///
/// # Errors
/// Those of the log; what was taken until then is taken again by the next try.
pub(super) fn rebuild(
    engine: &Engine,
    open_log: &OpenLog,
    (recipe, standby): (&Recipe, &Standby),
    ids: &[PartitionId],
    reopen: bool,
) -> Result<(Vec<Recovered>, Arc<dyn EventLog>), Error> {
    let log = if reopen {
        open_log()?
    } else {
        engine.log().map_err(|reject| Error::Failed(reject.detail.into_owned()))?
    };
    log.catch_up(&|_| ())?;
    let (mut partitions, mut cold) = (Vec::with_capacity(ids.len()), Vec::new());
    for id in ids {
        match standby.take(*id) {
            Some(state) => partitions.push(state),
            None => cold.push(*id),
        }
    }
    partitions.extend(recovery::replay(&*log, &cold, recipe.policy, None, &|_, _| ())?);
    let recovered = take(engine, &*log, partitions, recipe, None)?;
    Ok((recovered, log))
}

/// Takes partitions: all `Owner` records are on their way before the first is waited for.
fn take(
    engine: &Engine,
    log: &dyn EventLog,
    partitions: Vec<Replayed>,
    recipe: &Recipe,
    mut tracker: Option<&mut TrackerState>,
) -> Result<Vec<Recovered>, Error> {
    let claim = |mut replayed: Replayed| {
        let key = [engine.entropy.next_u64(), engine.entropy.next_u64()];
        replayed.partition.seed(engine.entropy.next_u64());
        recovery::claim(log, replayed, recipe, key, engine.clock.now().wall)
    };
    let claims: Result<Vec<Claim>, Error> = partitions.into_iter().map(claim).collect();
    let own = |claim| recovery::own(log, claim, tracker.as_deref_mut());
    claims?.into_iter().map(own).collect()
}

/// What a node begins with.
#[derive(Default)]
pub(crate) struct Begun {
    /// Partitions that are served.
    pub(crate) recovered: Vec<Recovered>,
    /// Partitions that wait for an owner: the log is shared with others.
    pub(crate) followed: Vec<Replayed>,
}

/// First start of a node: replays everything, tracker included. Where others append as well nothing
/// is taken yet.
pub(crate) fn first_start(
    engine: &Engine,
    log: &dyn EventLog,
    recipe: &Recipe,
    tracker: &mut TrackerState,
) -> Result<Begun, Error> {
    let ids: Vec<PartitionId> = engine.slots.iter().map(|s| s.id).collect();
    // Two halves where the log has to be brought first.
    let brought = log.others_append();
    let show = |permille: u16| engine.replay_permille.store(permille, Ordering::Release);
    log.catch_up(&|permille| {
        if brought {
            show(permille / 2)
        }
    })?;
    let progress = |id: PartitionId, at: Position| {
        let end = log.end(id).0.max(1);
        // 1,024 partitions of 2^48 positions each: neither product overflows.
        let one = u16::try_from(at.0.min(end) / (end / 1_000).max(1)).unwrap_or(1_000).min(1_000);
        let series = if log.one_series() { 1 } else { ids.len().max(1) };
        let before = if log.one_series() { 0 } else { id.index() };
        let whole = (before * 1_000 + usize::from(one)) / series;
        let whole = u16::try_from(whole).unwrap_or(1_000);
        show(if brought { 500 + whole / 2 } else { whole });
    };
    tracker.prove(log)?;
    let partitions = recovery::replay(log, &ids, recipe.policy, Some(tracker), &progress)?;
    tracker.heal_whole(log, &engine.tracker, engine.clock.now().wall)?;
    let begun = if brought {
        Begun { followed: partitions, ..Begun::default() }
    } else {
        let recovered = take(engine, log, partitions, recipe, Some(tracker))?;
        Begun { recovered, ..Begun::default() }
    };
    engine.replay_permille.store(1_000, Ordering::Release);
    Ok(begun)
}
