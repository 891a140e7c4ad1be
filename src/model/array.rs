//! Arrays: up to 100 million tasks as one object. An element is a task like any other; what is
//! special is that it costs nothing until somebody touches it.

use crate::model::id::{Name, TaskSeq};
use crate::model::key::Hash128;
use crate::model::task::{TaskInput, TaskSpec};
use serde::{Deserialize, Serialize};

/// What stands for the value in a payload template.
const PLACEHOLDER: &[u8] = b"{i}";

/// The values of an array, or of its share in one partition: `from`, `from + step`, …
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// First value.
    pub from: u64,
    /// Distance of two values; at least 1.
    pub step: u64,
    /// Number of elements.
    pub count: u64,
}

impl Span {
    /// The elements `share`, `share + of`, `share + 2 × of`, …: what one of `of` partitions gets.
    /// Empty when there are fewer elements than partitions.
    #[must_use]
    pub fn share(&self, share: u64, of: u64) -> Self {
        let count = self.count.saturating_sub(share).div_ceil(of.max(1));
        Self { from: self.from + share * self.step, step: self.step * of, count }
    }

    /// Value of the `k`-th element, counted from 0.
    #[must_use]
    pub fn value(&self, k: u64) -> u64 {
        self.from + k * self.step
    }

    /// Which element has this value.
    #[must_use]
    pub fn place(&self, value: u64) -> Option<u64> {
        let ahead = value.checked_sub(self.from)?;
        (ahead.is_multiple_of(self.step) && ahead / self.step < self.count)
            .then(|| ahead / self.step)
    }
}

/// An array as sent, defaults not yet applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArrayInput {
    /// What all elements have in common; the payload is the template.
    pub task: TaskInput,
    /// All its values; every partition takes its own share of them.
    pub span: Span,
    /// Id of the array, unique in the job.
    pub id: Option<Name>,
}

/// An array as admitted in one partition. This is what the log keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct ArraySpec {
    /// What all elements have in common; the payload is the template.
    pub task: TaskSpec,
    /// Its values in this partition.
    pub span: Span,
    /// Id of the array.
    pub id: Option<Name>,
    /// Hash of the whole array as sent, for a repeat of its id.
    pub content: Hash128,
}

/// What makes a task an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Element {
    /// Sequence number of the array's first element in the partition.
    pub first: TaskSeq,
    /// Its value.
    pub value: u64,
}

impl ArraySpec {
    /// The text of the `k`-th element; `first` = sequence number of element 0.
    #[must_use]
    pub fn element(&self, first: TaskSeq, k: u64) -> TaskSpec {
        let value = self.span.value(k);
        let mut task = self.task.clone();
        task.payload.bytes = render(&self.task.payload.bytes, value);
        task.element = Some(Element { first, value });
        task
    }

    /// Bytes of the largest payload.
    #[must_use]
    pub fn payload_bytes_max(&self) -> u64 {
        let last = self.span.value(self.span.count.saturating_sub(1));
        payload_bytes(&self.task.payload.bytes, last)
    }
}

/// Replaces every `{i}` by a value; nothing else is interpreted.
#[must_use]
pub fn render(template: &[u8], value: u64) -> Vec<u8> {
    let digits = value.to_string();
    let mut out = Vec::with_capacity(template.len() + digits.len());
    let mut rest = template;
    while let Some(at) = find(rest) {
        let (before, after) = rest.split_at(at);
        out.extend_from_slice(before);
        out.extend_from_slice(digits.as_bytes());
        rest = after.get(PLACEHOLDER.len()..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

/// Length of [`render`]'s answer.
#[must_use]
pub fn payload_bytes(template: &[u8], value: u64) -> u64 {
    let places = places(template);
    template.len() as u64 - places * PLACEHOLDER.len() as u64 + places * u64::from(digits(value))
}

/// How often the value stands in what [`render`] makes of a template.
#[must_use]
pub fn places(template: &[u8]) -> u64 {
    template.windows(PLACEHOLDER.len()).filter(|w| *w == PLACEHOLDER).count() as u64
}

/// Decimal digits of a value.
#[must_use]
pub fn digits(value: u64) -> u32 {
    value.checked_ilog10().unwrap_or(0) + 1
}

fn find(text: &[u8]) -> Option<usize> {
    text.windows(PLACEHOLDER.len()).position(|window| window == PLACEHOLDER)
}

#[cfg(test)]
#[path = "array_tests.rs"]
mod tests;
