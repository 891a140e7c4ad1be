//! Who is calling: the presented token against the tokens in force, when the call begins and as
//! long as it waits. No file is read here; the node hands tokens in, the call brings the time.

mod failures;

use crate::codec::digest;
use crate::metrics::Denial;
use crate::model::access::{Roles, Scopes, Token};
use crate::model::id::Name;
use crate::model::reject::{Code, Reject};
use crate::model::time::{Now, WallMs};
use failures::Failures;
use hyper::header::{AUTHORIZATION, HeaderMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// The caller of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Name of its token; `None` where no tokens are configured, and before it was asked for.
    pub(crate) name: Option<Name>,
    /// What it may do.
    pub(crate) roles: Roles,
    /// Where.
    pub(crate) scopes: Scopes,
    /// Digest of its token.
    token: Option<[u8; 32]>,
}

/// Why somebody is not let in.
pub(crate) type Denied = (Denial, Reject);

/// Longest time between two looks at the clock while a call waits: the clock may be set.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The tokens in force.
#[derive(Default)]
pub struct Guard {
    /// `None`: no tokens are configured, and everybody has every role.
    tokens: Option<watch::Sender<Arc<[Token]>>>,
    failures: Mutex<Failures>,
}

impl Guard {
    /// Lets in who brings one of these.
    #[must_use]
    pub fn new(tokens: Vec<Token>) -> Self {
        Self { tokens: Some(watch::Sender::new(tokens.into())), failures: Mutex::default() }
    }

    /// Puts other tokens in force. Without any configured it changes nothing: who may come in must
    /// not depend on when a file was read.
    pub fn replace(&self, tokens: Vec<Token>) {
        if let Some(held) = &self.tokens {
            held.send_replace(tokens.into());
        }
    }

    /// The caller behind a head.
    pub(crate) fn identify(
        &self,
        headers: &HeaderMap,
        from: IpAddr,
        now: Now,
    ) -> Result<Caller, Denied> {
        let Some(held) = &self.tokens else {
            return Ok(Caller { roles: Roles::ALL, ..Caller::default() });
        };
        let presented = bearer(headers)?;
        let tokens = Arc::clone(&held.borrow());
        let digest = digest::sha256(presented);
        let Some(token) = known(&tokens, &digest) else {
            return Err(self.wrong(from, now));
        };
        if token.expires.known().is_some_and(|end| now.wall >= end) {
            return Err(denied(Denial::Expired, "the token has expired"));
        }
        let name = Some(token.name.clone());
        let scopes = token.scopes.clone();
        Ok(Caller { name, roles: token.roles, scopes, token: Some(digest) })
    }

    /// Waits until the token of a caller is not in force any more as it was when the call began:
    /// taken out, changed, expired. What is open ends then.
    pub(crate) async fn ended(&self, caller: &Caller, now: impl Fn() -> WallMs) {
        let (Some(held), Some(digest)) = (&self.tokens, &caller.token) else {
            return std::future::pending().await;
        };
        let mut changes = held.subscribe();
        loop {
            let end = {
                let tokens = changes.borrow_and_update();
                let token = known(&tokens, digest);
                let same = |t: &&Token| t.roles == caller.roles && t.scopes == caller.scopes;
                let Some(token) = token.filter(same) else { return };
                token.expires.known()
            };
            let left = end.map_or(LOOK_EVERY, |end| Duration::from_millis(end.since(now())));
            if left.is_zero() {
                return;
            }
            tokio::select! {
                // The sender lives as long as this guard.
                _ = changes.changed() => {}
                () = tokio::time::sleep(left.min(LOOK_EVERY)), if end.is_some() => {}
            }
        }
    }

    fn wrong(&self, from: IpAddr, now: Now) -> Denied {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        match failures.wrong(from, now.tick) {
            None => denied(Denial::Wrong, "the token is not known"),
            Some(held) => {
                if held.first {
                    tracing::warn!(%from, "too many wrong tokens; the address is held");
                }
                let detail = "too many wrong tokens from this address";
                (Denial::Rate, Reject::new(Code::AuthRate, detail).retry_unapplied(held.wait_ms))
            }
        }
    }
}

/// The token of a head.
pub(super) fn bearer(headers: &HeaderMap) -> Result<&[u8], Denied> {
    let missing = || denied(Denial::Missing, "send `Authorization: Bearer TOKEN`");
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or_else(missing)?;
    if values.next().is_some() {
        return Err(denied(Denial::Missing, "more than one Authorization header"));
    }
    let (scheme, rest) = value.as_bytes().split_at_checked(7).ok_or_else(missing)?;
    let token = rest.trim_ascii();
    let named = scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty();
    if named { Ok(token) } else { Err(missing()) }
}

fn denied(why: Denial, detail: &'static str) -> Denied {
    (why, Reject::new(Code::Unauthorized, detail))
}

/// Looks at every token and at every byte, so that the time tells nothing of how near a guess was.
fn known<'t>(tokens: &'t [Token], digest: &[u8; 32]) -> Option<&'t Token> {
    tokens.iter().fold(None, |found, token| {
        let hit = same(&token.sha256, digest);
        if hit { Some(token) } else { found }
    })
}

/// Takes the same time wherever they differ.
pub(super) fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let differ = a.iter().zip(b).fold(0, |bits, (a, b)| std::hint::black_box(bits | (a ^ b)));
    differ == 0
}

#[cfg(test)]
mod tests;
