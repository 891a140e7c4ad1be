//! Timers fire once, never early, at most a slot late.

use super::Wheel;
use crate::model::time::Tick;
use proptest::prelude::*;

proptest! {
    #[test]
    fn entries_fire_once_never_early_and_within_a_slot(
        dues in proptest::collection::vec(0u64..5_000_000, 1..60),
        steps in proptest::collection::vec(1u64..400_000, 1..60),
    ) {
        let mut wheel = Wheel::default();
        for (id, due) in dues.iter().enumerate() { wheel.insert(Tick(*due), id); }
        let (mut now, mut fired_at) = (0, vec![None; dues.len()]);
        for step in steps.into_iter().chain([6_000_000]) {
            let before = now;
            now += step;
            if let Some(next) = wheel.next_due() {
                let waiting = dues.iter().zip(&fired_at).filter(|(_, f)| f.is_none());
                let earliest = waiting.map(|(d, _)| *d).min();
                prop_assert!(next.0 <= earliest.unwrap_or(u64::MAX) + 16);
            }
            let mut fired = Vec::new();
            wheel.advance(Tick(now), &mut fired);
            for id in fired {
                prop_assert!(fired_at[id].is_none());
                prop_assert!(dues[id] <= now, "early");
                prop_assert!(dues[id] + 16 > before, "late");
                fired_at[id] = Some(now);
            }
        }
        prop_assert!(fired_at.iter().all(Option::is_some));
        prop_assert!(wheel.is_empty());
    }
}

#[test]
fn an_entry_a_year_ahead_fires_in_time() {
    let mut wheel = Wheel::default();
    let year = 365 * 86_400_000;
    wheel.insert(Tick(year), 7u8);
    let mut fired = Vec::new();
    let mut now = 0;
    while now < year + 20 {
        now = wheel.next_due().map_or(year + 20, |d| d.0.max(now + 1));
        let early = now < year;
        wheel.advance(Tick(now), &mut fired);
        assert!(fired.is_empty() || !early);
        if !fired.is_empty() {
            break;
        }
    }
    assert_eq!(fired, vec![7]);
}
