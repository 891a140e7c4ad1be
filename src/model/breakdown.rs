//! Tasks counted by something: caps of the tag counters, what is asked, what is answered.

use crate::model::access::Scopes;
use crate::model::id::Name;
use crate::model::limits;
use crate::model::priority::Priority;
use crate::model::state::{StateCounts, TaskState};
use serde::{Deserialize, Serialize};

/// Key under which bare tags are counted.
pub const BARE_KEY: &str = "_";
/// Values that begin so have no row of their own: the answer has words of its own there.
pub const OWN_WORDS: &str = "__";

/// How much the tag counters tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagCaps {
    /// Values of a key with a row of their own, in each partition.
    pub values: usize,
    /// Keys of a job, in each partition.
    pub keys: usize,
}

impl Default for TagCaps {
    fn default() -> Self {
        Self { values: limits::TAG_VALUES, keys: limits::TAG_KEYS }
    }
}

/// Counts by priority, index [`Priority::index`].
pub type LevelCounts = [StateCounts; Priority::LEVELS];

/// What the tasks of a break-down are.
#[derive(Clone, Debug, PartialEq)]
pub enum Within {
    /// Those of one job.
    Job(Name),
    /// Those of all jobs a caller may see.
    Jobs(Scopes),
}

/// Tasks by the values of a tag key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TagCounts {
    /// Value and counts, in the order of the values.
    pub rows: Vec<(Name, StateCounts)>,
    /// Tasks without the key; not known where the key is not counted.
    pub none: Option<StateCounts>,
    /// Values without a row of their own, summed.
    pub other: StateCounts,
    /// Not every value has a row.
    pub overflow: bool,
}

/// What tasks are broken down by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// State.
    State,
    /// Current priority.
    Priority,
    /// Values of a tag key.
    Tag(Name),
}

/// A break-down as answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Breakdown {
    /// Largest total first, equal ones by value.
    pub rows: Vec<(Name, StateCounts)>,
    /// Tasks without the key; of counted tags only.
    pub none: Option<StateCounts>,
    /// Values without a row of their own, if there is one.
    pub other: Option<StateCounts>,
    /// Not every value has a row.
    pub overflow: bool,
}

impl By {
    /// Reads `state`, `priority` or `tag:KEY`; `,state` may follow the latter two: rows hold their
    /// states anyway.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "state" {
            return Some(Self::State);
        }
        let text = text.strip_suffix(",state").unwrap_or(text);
        match text.strip_prefix("tag:") {
            None => (text == "priority").then_some(Self::Priority),
            Some(key) => key_of(key).map(Self::Tag),
        }
    }
}

/// A tag key as it is asked for: 1 to 64 B without comma, colon and control characters.
#[must_use]
pub fn key_of(text: &str) -> Option<Name> {
    let fits = (1..=limits::TAG_KEY_BYTES_MAX).contains(&text.len());
    let bad = |c: char| c == ',' || c == ':' || c.is_control();
    (fits && !text.contains(bad)).then(|| Name::from(text))
}

impl Breakdown {
    /// Of tag counters.
    #[must_use]
    pub fn of_tags(counts: TagCounts) -> Self {
        let other = counts.overflow.then_some(counts.other);
        let rows = largest_first(counts.rows);
        Self { rows, none: counts.none, other, overflow: counts.overflow }
    }

    /// Of counts by priority: one row a priority.
    #[must_use]
    pub fn of_levels(levels: &LevelCounts) -> Self {
        let row = |priority: &Priority| {
            (Name::from(priority.get().to_string()), levels[priority.index()])
        };
        let rows = Priority::DESCENDING.iter().map(row).collect();
        Self { rows: largest_first(rows), ..Self::default() }
    }

    /// Of counts by priority: one row a state.
    #[must_use]
    pub fn of_states(levels: &LevelCounts) -> Self {
        let mut sum = StateCounts::default();
        levels.iter().for_each(|level| sum.merge(level));
        let row = |state: TaskState| {
            let mut counts = StateCounts::default();
            counts.add(state, sum.of(state));
            (Name::from(state.name()), counts)
        };
        Self { rows: largest_first(TaskState::ALL.map(row).into()), ..Self::default() }
    }
}

/// Rows with tasks, by total.
fn largest_first(mut rows: Vec<(Name, StateCounts)>) -> Vec<(Name, StateCounts)> {
    rows.retain(|(_, counts)| counts.total() > 0);
    rows.sort_by(|(a, x), (b, y)| y.total().cmp(&x.total()).then_with(|| a.cmp(b)));
    rows
}
