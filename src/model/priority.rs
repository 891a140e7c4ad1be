//! Priority 1…9, 9 = most urgent, and the only map to the topics `KWQ-1` … `KWQ-9`.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A priority, always within 1…9. 9 is served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Priority(u8);

impl Priority {
    /// Number of levels.
    pub const LEVELS: usize = 9;
    /// Used where neither task nor job names one.
    pub const DEFAULT: Self = Self(5);
    /// All levels, the most urgent first.
    pub const DESCENDING: [Self; Self::LEVELS] =
        [Self(9), Self(8), Self(7), Self(6), Self(5), Self(4), Self(3), Self(2), Self(1)];

    /// All levels by their index, the least urgent first.
    pub const ASCENDING: [Self; Self::LEVELS] =
        [Self(1), Self(2), Self(3), Self(4), Self(5), Self(6), Self(7), Self(8), Self(9)];

    /// `None` outside 1…9.
    #[must_use]
    pub fn new(value: u64) -> Option<Self> {
        u8::try_from(value).ok().filter(|v| (1..=9).contains(v)).map(Self)
    }
    /// 1…9.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }
    /// 0…8, for arrays indexed by level.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0) - 1
    }
    /// Inverse of [`Self::index`]; `None` from 9 on.
    #[must_use]
    pub fn from_index(index: usize) -> Option<Self> {
        u64::try_from(index).ok().and_then(|i| Self::new(i + 1))
    }
    /// Topic of this level, e.g. `KWQ-7`.
    #[must_use]
    pub fn topic(self, prefix: &str) -> String {
        format!("{prefix}-{}", self.0)
    }
}

impl TryFrom<u8> for Priority {
    type Error = &'static str;
    fn try_from(value: u8) -> Result<Self, Self::Error> {
        Self::new(u64::from(value)).ok_or("priority must be 1..9")
    }
}

impl From<Priority> for u8 {
    fn from(p: Priority) -> Self {
        p.0
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
