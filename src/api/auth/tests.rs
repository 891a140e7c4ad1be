//! Tokens known, unknown, expired, missing, replaced.

use super::*;
use crate::model::access::Role;
use crate::model::time::{Tick, WallMs};
use hyper::header::HeaderValue;
use std::net::Ipv4Addr;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn at(ms: u64) -> Now {
    Now { wall: WallMs(ms), tick: Tick(ms) }
}

fn token(name: &str, secret: &str, role: Role, expires: u64) -> Token {
    Token {
        name: name.into(),
        sha256: digest::sha256(secret.as_bytes()),
        roles: Roles::of(&[role]),
        scopes: Scopes::default(),
        expires: WallMs(expires),
    }
}

fn head(value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_str(value).expect("a header"));
    headers
}

fn guard() -> Guard {
    Guard::new(vec![token("a", "kwq_a", Role::View, 0), token("b", "kwq_b", Role::Work, 1_000)])
}

#[track_caller]
fn denied_as(guard: &Guard, headers: &HeaderMap, now: u64, why: Denial) -> Reject {
    let (found, reject) = guard.identify(headers, HERE, at(now)).expect_err("must be refused");
    assert_eq!(found, why);
    reject
}

#[test]
fn without_tokens_everybody_may_everything_and_none_can_be_put_in_force() {
    let guard = Guard::default();
    guard.replace(vec![token("a", "kwq_a", Role::View, 0)]);
    let caller = guard.identify(&HeaderMap::new(), HERE, at(0)).expect("let in");
    assert_eq!((caller.name, caller.roles), (None, Roles::ALL));
    assert!(caller.scopes.everything());
}

#[test]
fn a_token_is_its_name_and_roles_until_it_expires() {
    let guard = guard();
    for scheme in ["Bearer ", "bearer ", "BEARER   "] {
        let caller = guard.identify(&head(&format!("{scheme}kwq_a")), HERE, at(5_000));
        let caller = caller.expect("known");
        assert_eq!(caller.name.as_deref(), Some("a"));
        assert_eq!(caller.roles, Roles::of(&[Role::View]));
    }
    assert!(guard.identify(&head("Bearer kwq_b"), HERE, at(999)).is_ok());
    let reject = denied_as(&guard, &head("Bearer kwq_b"), 1_000, Denial::Expired);
    assert_eq!(reject.code, Code::Unauthorized);
}

#[test]
fn what_is_no_bearer_token_counts_as_missing() {
    let guard = guard();
    for value in ["", "Bearer", "Bearer ", "Basic a3dxX2E=", "kwq_a", "Bearerkwq_a"] {
        assert_eq!(
            denied_as(&guard, &head(value), 0, Denial::Missing).code,
            Code::Unauthorized,
            "{value}"
        );
    }
    denied_as(&guard, &HeaderMap::new(), 0, Denial::Missing);
    let mut two = head("Bearer kwq_a");
    two.append(AUTHORIZATION, HeaderValue::from_static("Bearer kwq_b"));
    denied_as(&guard, &two, 0, Denial::Missing);
}

#[test]
fn wrong_tokens_hold_an_address_but_not_its_valid_and_missing_ones() {
    let guard = guard();
    for _ in 0..50 {
        denied_as(&guard, &head("Bearer kwq_c"), 10, Denial::Wrong);
        denied_as(&guard, &HeaderMap::new(), 10, Denial::Missing);
        denied_as(&guard, &head("Bearer kwq_b"), 2_000, Denial::Expired);
    }
    let reject = denied_as(&guard, &head("Bearer kwq_c"), 10, Denial::Rate);
    assert_eq!((reject.code, reject.retry_after_ms), (Code::AuthRate, Some(60_000)));
    assert!(guard.identify(&head("Bearer kwq_a"), HERE, at(10)).is_ok());
    denied_as(&guard, &HeaderMap::new(), 10, Denial::Missing);
    let elsewhere = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    let (why, _) = guard.identify(&head("Bearer kwq_c"), elsewhere, at(10)).expect_err("wrong");
    assert_eq!(why, Denial::Wrong);
}

#[test]
fn other_tokens_put_in_force_end_the_old_ones() {
    let guard = guard();
    guard.replace(vec![token("c", "kwq_c", Role::Admin, 0)]);
    denied_as(&guard, &head("Bearer kwq_a"), 0, Denial::Wrong);
    assert!(guard.identify(&head("Bearer kwq_c"), HERE, at(0)).is_ok());
}

#[test]
fn digests_are_compared_as_a_whole() {
    let (a, mut b) = (digest::sha256(b"x"), digest::sha256(b"x"));
    assert!(same(&a, &b));
    for at in 0..32 {
        b[at] ^= 0x80;
        assert!(!same(&a, &b));
        b[at] ^= 0x80;
    }
}
