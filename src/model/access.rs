//! Who may do what: roles, scopes, and what a row of the table of routes asks for.

use crate::model::id::Name;
use crate::model::time::WallMs;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A permission. No role implies another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// Create jobs and submit tasks.
    Submit = 0,
    /// Consume, report, beat.
    Work = 1,
    /// Read everything but payloads and results.
    View = 2,
    /// Read payloads and results.
    Payload = 3,
    /// Control jobs, tasks, levels, workers.
    Operate = 4,
    /// Images, state hashes, the audit trail.
    Admin = 5,
}

impl Role {
    /// Every role, in the order they are shown in.
    pub const ALL: [Self; 6] =
        [Self::Submit, Self::Work, Self::View, Self::Payload, Self::Operate, Self::Admin];

    /// The word in tokens files and answers.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Work => "work",
            Self::View => "view",
            Self::Payload => "payload",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }

    /// The role of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }
}

/// A set of roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// Every role.
    pub const ALL: Self = Self::of(&Role::ALL);

    /// The set of these.
    #[must_use]
    pub const fn of(roles: &[Role]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < roles.len() {
            bits |= 1 << roles[at] as u8;
            at += 1;
        }
        Self(bits)
    }

    /// Is it one of them?
    #[must_use]
    pub fn has(self, role: Role) -> bool {
        self.0 >> role as u8 & 1 == 1
    }

    /// Those that are in both.
    #[must_use]
    pub fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Its roles in their order.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role))
    }
}

/// What a row of the table of routes asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing: everybody may call it.
    Open,
    /// A valid token of whatever role, where tokens are configured.
    Any,
    /// One of these roles.
    OneOf(Roles),
}

/// Prefixes of the job ids a caller may touch; none = every job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scopes(Option<Arc<[Name]>>);

impl Scopes {
    /// These prefixes; an empty list means every job.
    #[must_use]
    pub fn new(prefixes: Vec<Name>) -> Self {
        Self((!prefixes.is_empty()).then(|| prefixes.into()))
    }

    /// Does it cover every job?
    #[must_use]
    pub fn everything(&self) -> bool {
        self.0.is_none()
    }

    /// Is this job inside?
    #[must_use]
    pub fn cover(&self, job: &str) -> bool {
        self.0.as_ref().is_none_or(|all| all.iter().any(|prefix| job.starts_with(&**prefix)))
    }

    /// The prefixes.
    pub fn iter(&self) -> impl Iterator<Item = &Name> {
        self.0.iter().flat_map(|all| all.iter())
    }
}

/// A line of the tokens file: what a token may do, and the digest it is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Who it stands for; shown in the audit trail.
    pub name: Name,
    /// SHA-256 of the token.
    pub sha256: [u8; 32],
    /// What it may do.
    pub roles: Roles,
    /// Where it may do it.
    pub scopes: Scopes,
    /// Not valid from here on; unset = for ever.
    pub expires: WallMs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_in_and_nothing_else() {
        let set = Roles::of(&[Role::Work, Role::Admin]);
        for role in Role::ALL {
            assert_eq!(set.has(role), matches!(role, Role::Work | Role::Admin), "{role:?}");
            assert!(Roles::ALL.has(role) && !Roles::default().has(role));
            assert_eq!(Role::parse(role.word()), Some(role));
        }
        assert!(set.iter().eq([Role::Work, Role::Admin]));
        assert_eq!(Role::parse("root"), None);
        assert_eq!(set.both(Roles::of(&[Role::Admin, Role::View])), Roles::of(&[Role::Admin]));
    }

    #[test]
    fn a_scope_is_a_prefix_and_no_scope_is_everything() {
        let scopes = Scopes::new(vec!["eod-".into(), "var".into()]);
        assert!(scopes.cover("eod-risk") && scopes.cover("eod-") && scopes.cover("var"));
        assert!(!scopes.cover("eod") && !scopes.cover("Eod-risk") && !scopes.cover("default"));
        assert!(!scopes.everything());
        let all = Scopes::new(Vec::new());
        assert!(all.everything() && all.cover("default") && all.cover(""));
    }
}
