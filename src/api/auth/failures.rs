//! Wrong tokens by address, a minute at a time. Bounded: beyond so many addresses the rest share
//! one count.

use crate::model::limits;
use crate::model::time::Tick;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const WINDOW_MS: u64 = 60_000;
/// Between two searches for counts that are over.
const SWEEP_MS: u64 = 1_000;
/// Stands for all addresses without a count of their own.
const OTHERS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Counts since the start of each address's window.
#[derive(Debug, Default)]
pub(super) struct Failures {
    by_address: BTreeMap<IpAddr, (Tick, u32)>,
    swept: Tick,
}

/// An address over its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// Until its window ends, ms.
    pub(super) wait_ms: u64,
    /// It was not before this token.
    pub(super) first: bool,
}

impl Failures {
    /// Counts one; `Some` when the address is over its share.
    pub(super) fn wrong(&mut self, from: IpAddr, now: Tick) -> Option<Held> {
        let mut key = network(from);
        if !self.by_address.contains_key(&key) {
            self.sweep(now);
            if self.by_address.len() >= limits::WRONG_ADDRESSES_MAX {
                key = OTHERS;
            }
        }
        let (since, count) = self.by_address.entry(key).or_insert((now, 0));
        if now.since(*since) >= WINDOW_MS {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        (*count > limits::WRONG_TOKENS_MAX).then(|| Held {
            wait_ms: WINDOW_MS - now.since(*since),
            first: *count == limits::WRONG_TOKENS_MAX + 1,
        })
    }

    fn sweep(&mut self, now: Tick) {
        let full = self.by_address.len() >= limits::WRONG_ADDRESSES_MAX;
        if full && now.since(self.swept) >= SWEEP_MS {
            self.swept = now;
            self.by_address.retain(|_, (since, _)| now.since(*since) < WINDOW_MS);
        }
    }
}

/// A household of IPv6 has a whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() & !0 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n))
    }

    #[test]
    fn fifty_a_minute_are_borne_and_the_next_is_held_until_the_minute_is_over() {
        let mut failures = Failures::default();
        for i in 0..50 {
            assert_eq!(failures.wrong(address(1), Tick(1_000 + i)), None);
        }
        let held = failures.wrong(address(1), Tick(2_000)).expect("held");
        assert_eq!(held, Held { wait_ms: 59_000, first: true });
        let held = failures.wrong(address(1), Tick(60_999)).expect("still held");
        assert_eq!(held, Held { wait_ms: 1, first: false });
        assert_eq!(failures.wrong(address(2), Tick(2_000)), None, "another address");
        assert_eq!(failures.wrong(address(1), Tick(61_000)), None, "another minute");
    }

    #[test]
    fn neighbours_of_one_network_share_a_count() {
        let mut failures = Failures::default();
        let six = |n: u128| IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8 << 96 | n));
        let held = (0..51).filter(|n| failures.wrong(six(*n), Tick(0)).is_some()).count();
        assert_eq!(held, 1);
        assert_eq!(failures.wrong(six(1 << 64), Tick(0)), None);
    }

    #[test]
    fn addresses_without_end_take_no_memory_without_end() {
        let mut failures = Failures::default();
        let most = u32::try_from(limits::WRONG_ADDRESSES_MAX).expect("small");
        for n in 0..most {
            assert_eq!(failures.wrong(address(n), Tick(5_000)), None);
        }
        let held = (most..most + 60).filter(|n| failures.wrong(address(*n), Tick(6_000)).is_some());
        assert_eq!(held.count(), 10, "the rest share one count");
        assert_eq!(failures.by_address.len(), limits::WRONG_ADDRESSES_MAX + 1);
        assert_eq!(failures.wrong(address(most), Tick(90_000)), None);
        assert_eq!(failures.by_address.len(), 1);
    }
}
