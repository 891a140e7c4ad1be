//! Whether an instance serves or leaves that to others, and when one that has left tries again
//! (ADR 0024, points 13 and 16). Pure: what is seen is handed in.

use crate::log::Room;

/// One refused append may be a mistake of a moment.
const REFUSALS: u64 = 2;
/// One may be a hand-over that crossed another; two within this time, ms, are a group that does not
/// agree with itself.
const DISPUTES: (u64, u64) = (2, 60_000);
/// A log that is not open for longer than this, with Kafka there, will not be soon.
const LOG_AWAY_MS: u64 = 10_000;
/// An instance that cannot serve stays aside for so long at first and at most, ms: each time it
/// joins, the others hand partitions over.
const ASIDE_MS: (u64, u64) = (10_000, 600_000);

/// What keeps an instance from serving though others can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// Nothing can be kept on its disk.
    DiskFull,
    /// Brokers take nothing from it: of its clock, or because it may not write.
    Refused,
    /// Its log is not open, and was not for a while.
    LogAway,
}

impl Unfit {
    /// As in the body of ready.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::DiskFull => "disk_full",
            Self::Refused => "log_refused",
            Self::LogAway => "log_unavailable",
        }
    }
}

/// What there is to see at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    pub(super) now_ms: u64,
    /// Of the open log: how much may be written, and the appends refused since it was opened.
    pub(super) log: Option<(Room, u64)>,
    /// For how long Kafka has been heard without a break.
    pub(super) kafka_there_ms: u64,
    /// There are others that serve, or could.
    pub(super) others_serve: bool,
    /// Partitions that others took, and 2 s later the group still gave them to this one; so far.
    pub(super) disputes: u64,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Stay,
    /// Leave the group: others have what this one cannot serve.
    Leave(Unfit),
    /// Join the group.
    Join,
    /// Leave and join: what the group has said to this one is not what it says to others. A member
    /// that was missed does not know of it while its client waits, by a clock that was set back.
    Rejoin,
}

/// What was seen and done so far.
#[derive(Debug, Default)]
pub(super) struct Fitness {
    /// Refusals of before it joined.
    forgiven: u64,
    /// Disputes that are over: joining anew has answered them, or nothing came of them.
    settled: u64,
    /// The newest of those that were seen, and when that was.
    disputed: (u64, u64),
    /// The log has not been open since.
    log_away_ms: Option<u64>,
    /// Between leaving and coming back, either way.
    aside: BackOff,
    /// Between one time it joins anew and the next.
    anew: BackOff,
}

/// A wait that is twice as long each time, unless the one before is long over.
#[derive(Debug, Default)]
struct BackOff {
    until_ms: u64,
    times: u32,
}

impl BackOff {
    fn over(&self, now_ms: u64) -> bool {
        now_ms >= self.until_ms
    }

    fn start(&mut self, now_ms: u64) {
        if now_ms > self.until_ms + ASIDE_MS.1 {
            self.times = 0;
        }
        self.until_ms = now_ms + (ASIDE_MS.0 << self.times.min(16)).min(ASIDE_MS.1);
        self.times += 1;
    }
}

impl Fitness {
    /// The next step of one that takes part, or does not. It counts as done.
    pub(super) fn step(&mut self, takes_part: bool, seen: &Sight) -> Step {
        let unfit = self.unfit(seen);
        self.hear_disputes(seen);
        if takes_part {
            return self.step_of_a_member(unfit, seen);
        }
        if seen.others_serve && !(self.aside.over(seen.now_ms) && may_try_again(unfit)) {
            return Step::Stay;
        }
        if !seen.others_serve {
            // Where none is fit, they do not chase each other.
            self.aside.start(seen.now_ms);
        }
        self.forgiven = seen.log.map_or(0, |(_, refusals)| refusals);
        Step::Join
    }

    fn step_of_a_member(&mut self, unfit: Option<Unfit>, seen: &Sight) -> Step {
        let disputed = seen.disputes - self.settled >= DISPUTES.0;
        let step = match unfit {
            Some(why) if seen.others_serve && self.aside.over(seen.now_ms) => {
                self.aside.start(seen.now_ms);
                Step::Leave(why)
            }
            _ if disputed && self.anew.over(seen.now_ms) => {
                self.anew.start(seen.now_ms);
                Step::Rejoin
            }
            _ => return Step::Stay,
        };
        // Both answer whatever there was to dispute.
        self.settled = seen.disputes;
        step
    }

    fn unfit(&mut self, seen: &Sight) -> Option<Unfit> {
        let Some((room, refusals)) = seen.log else {
            let since = *self.log_away_ms.get_or_insert(seen.now_ms);
            // After an outage of Kafka logs come back at their own pace.
            let away_ms = seen.kafka_there_ms.min(seen.now_ms - since);
            return (away_ms >= LOG_AWAY_MS).then_some(Unfit::LogAway);
        };
        self.log_away_ms = None;
        // A log that was opened again counts anew.
        self.forgiven = self.forgiven.min(refusals);
        match room {
            Room::None => Some(Unfit::DiskFull),
            Room::Plenty | Room::WorkOnly => {
                (refusals - self.forgiven >= REFUSALS).then_some(Unfit::Refused)
            }
        }
    }

    fn hear_disputes(&mut self, seen: &Sight) {
        let (count, at_ms) = self.disputed;
        if seen.disputes > count {
            if seen.now_ms - at_ms > DISPUTES.1 {
                self.settled = count;
            }
            self.disputed = (seen.disputes, seen.now_ms);
        }
    }
}

/// Only a try shows whether brokers take what was refused before.
fn may_try_again(unfit: Option<Unfit>) -> bool {
    match unfit {
        None | Some(Unfit::Refused) => true,
        Some(Unfit::DiskFull | Unfit::LogAway) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Sight = Sight {
        now_ms: 1_000_000,
        log: Some((Room::Plenty, 0)),
        kafka_there_ms: 500_000,
        others_serve: true,
        disputes: 0,
    };

    fn at(now_ms: u64, seen: Sight) -> Sight {
        Sight { now_ms: WELL.now_ms + now_ms, ..seen }
    }

    #[test]
    fn who_is_well_or_alone_stays() {
        let mut fitness = Fitness::default();
        assert_eq!(fitness.step(true, &WELL), Step::Stay);
        let once = Sight { log: Some((Room::WorkOnly, 1)), ..WELL };
        assert_eq!(fitness.step(true, &once), Step::Stay, "a mistake of a moment");
        let full = Sight { log: Some((Room::None, 0)), others_serve: false, ..WELL };
        assert_eq!(fitness.step(true, &full), Step::Stay, "there is nobody else");
    }

    #[test]
    fn a_full_disk_is_left_and_come_back_from_when_there_is_room() {
        let (mut fitness, full) =
            (Fitness::default(), Sight { log: Some((Room::None, 0)), ..WELL });
        assert_eq!(fitness.step(true, &full), Step::Leave(Unfit::DiskFull));
        assert_eq!(fitness.step(false, &at(20_000, full)), Step::Stay, "it is full still");
        assert_eq!(fitness.step(false, &at(9_999, WELL)), Step::Stay, "too early");
        assert_eq!(fitness.step(false, &at(10_000, WELL)), Step::Join);
        assert_eq!(fitness.step(true, &at(10_001, WELL)), Step::Stay);
    }

    #[test]
    fn who_is_refused_tries_again_and_leaves_again_only_for_new_refusals() {
        let mut fitness = Fitness::default();
        let refused = |refusals| Sight { log: Some((Room::Plenty, refusals)), ..WELL };
        assert_eq!(fitness.step(true, &refused(2)), Step::Leave(Unfit::Refused));
        assert_eq!(fitness.step(false, &at(10_000, refused(2))), Step::Join, "only a try shows");
        assert_eq!(fitness.step(true, &at(10_001, refused(3))), Step::Stay);
        assert_eq!(fitness.step(true, &at(10_002, refused(4))), Step::Leave(Unfit::Refused));
        assert_eq!(fitness.step(false, &at(30_001, refused(4))), Step::Stay, "for longer now");
        assert_eq!(fitness.step(false, &at(30_002, refused(4))), Step::Join);
        assert_eq!(fitness.step(true, &at(30_003, refused(0))), Step::Stay, "it was opened again");
        assert_eq!(fitness.step(true, &at(30_004, refused(2))), Step::Leave(Unfit::Refused));
    }

    #[test]
    fn a_log_that_is_away_though_kafka_is_there_is_waited_for_a_while() {
        let (mut fitness, away) = (Fitness::default(), Sight { log: None, ..WELL });
        assert_eq!(fitness.step(true, &away), Step::Stay);
        assert_eq!(fitness.step(true, &at(9_999, away)), Step::Stay);
        let back = Sight { kafka_there_ms: 5_000, ..away };
        assert_eq!(fitness.step(true, &at(15_000, back)), Step::Stay, "Kafka was away, too");
        assert_eq!(fitness.step(true, &at(15_000, away)), Step::Leave(Unfit::LogAway));
        assert_eq!(fitness.step(false, &at(25_000, away)), Step::Stay, "it is away still");
        assert_eq!(fitness.step(false, &at(25_000, WELL)), Step::Join);
    }

    #[test]
    fn who_loses_what_the_group_gives_it_again_and_again_joins_anew() {
        let mut fitness = Fitness::default();
        let disputes = |disputes| Sight { disputes, ..WELL };
        assert_eq!(fitness.step(true, &disputes(1)), Step::Stay);
        assert_eq!(fitness.step(true, &disputes(2)), Step::Rejoin);
        assert_eq!(fitness.step(true, &at(1, disputes(3))), Step::Stay);
        assert_eq!(fitness.step(true, &at(2, disputes(4))), Step::Stay, "not as often");
        assert_eq!(fitness.step(true, &at(10_000, disputes(4))), Step::Rejoin);
        assert_eq!(fitness.step(true, &at(90_000, disputes(5))), Step::Stay);
        assert_eq!(fitness.step(true, &at(180_000, disputes(6))), Step::Stay, "long after it");
    }

    #[test]
    fn where_none_is_fit_they_do_not_chase_each_other() {
        let (mut fitness, full) =
            (Fitness::default(), Sight { log: Some((Room::None, 0)), ..WELL });
        assert_eq!(fitness.step(true, &full), Step::Leave(Unfit::DiskFull));
        let alone = Sight { others_serve: false, ..full };
        assert_eq!(fitness.step(false, &at(10, alone)), Step::Join, "nobody else is left");
        assert_eq!(fitness.step(true, &at(10_000, full)), Step::Stay, "it has its turn");
        assert_eq!(fitness.step(true, &at(20_010, full)), Step::Leave(Unfit::DiskFull));
    }

    #[test]
    fn who_has_to_step_aside_again_and_again_does_so_for_longer() {
        let mut back_off = BackOff::default();
        let mut wait_from = |now_ms| {
            back_off.start(now_ms);
            (back_off.until_ms - now_ms, back_off.until_ms + 1_000)
        };
        let mut now_ms = 0;
        for expected in [10, 20, 40, 80, 160, 320, 600, 600] {
            let (wait_ms, next_ms) = wait_from(now_ms);
            assert_eq!(wait_ms, expected * 1_000);
            now_ms = next_ms;
        }
        assert_eq!(wait_from(now_ms + ASIDE_MS.1).0, 10_000, "it took part for long");
    }

    #[test]
    fn who_has_joined_anew_leaves_for_a_full_disk_all_the_same() {
        let mut fitness = Fitness::default();
        let disputed = Sight { disputes: 2, ..WELL };
        assert_eq!(fitness.step(true, &disputed), Step::Rejoin);
        let full = Sight { log: Some((Room::None, 0)), ..disputed };
        assert_eq!(fitness.step(true, &at(1, full)), Step::Leave(Unfit::DiskFull));
        assert_eq!(fitness.step(false, &at(10_001, disputed)), Step::Join);
    }
}
