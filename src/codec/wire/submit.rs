//! Answers to submits of many tasks, written item by item.

use crate::codec::wire::out::Out;
use crate::model::reference::TaskRef;
use crate::model::reject::{Code, Reject};

/// How an item is numbered: `i` from 0 in arrays, `line` from 1 in NDJSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Position in a JSON array.
    Item(usize),
    /// Line of an NDJSON body.
    Line(u64),
}

/// Which outcomes are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// All of them.
    All,
    /// Those that were refused.
    Errors,
}

/// An item that is in.
#[derive(Clone, Copy, Debug)]
pub enum Settled<'a> {
    /// A task, and whether it was there before.
    Task(TaskRef, bool),
    /// An array.
    Array {
        /// Elements.
        count: u64,
        /// One reference per partition it has elements in.
        refs: &'a [TaskRef],
        /// It was there before.
        duplicate: bool,
    },
}

/// Counts and listed outcomes of one call.
#[derive(Debug)]
pub struct Tally {
    /// Tasks admitted.
    pub accepted: u64,
    /// Duplicates of tasks admitted before.
    pub duplicates: u64,
    /// Everything else.
    pub rejected: u64,
    listing: Listing,
    listed_max: usize,
    listed: usize,
    out: Out,
}

/// What is known after the last item.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary<'a> {
    /// Job of the path.
    pub job: Option<&'a str>,
    /// Lines and chunks of NDJSON.
    pub lines: Option<(u64, u64)>,
    /// The job takes no more tasks.
    pub closed: bool,
}

impl Settled<'_> {
    fn count(&self) -> u64 {
        match self {
            Self::Task(..) => 1,
            Self::Array { count, .. } => *count,
        }
    }

    fn duplicate(&self) -> bool {
        match self {
            Self::Task(_, duplicate) | Self::Array { duplicate, .. } => *duplicate,
        }
    }
}

impl Tally {
    /// Nothing counted yet; at most `listed_max` outcomes are listed, all are counted.
    #[must_use]
    pub fn new(listing: Listing, listed_max: usize) -> Self {
        let mut out = Out::default();
        out.open_list();
        Self { accepted: 0, duplicates: 0, rejected: 0, listing, listed_max, listed: 0, out }
    }

    /// Counts and lists one outcome.
    pub fn add(&mut self, place: Place, id: Option<&str>, outcome: Result<Settled<'_>, &Reject>) {
        let listed = match outcome {
            Ok(settled) => {
                let duplicate = settled.duplicate();
                let counter = if duplicate { &mut self.duplicates } else { &mut self.accepted };
                *counter += settled.count();
                self.listing == Listing::All
            }
            Err(_) => {
                self.rejected += 1;
                true
            }
        };
        if !listed || self.listed == self.listed_max {
            return;
        }
        self.listed += 1;
        let out = &mut self.out;
        out.open();
        match place {
            Place::Item(i) => out.count("i", i),
            Place::Line(line) => out.num("line", line),
        }
        match outcome {
            Ok(Settled::Task(reference, duplicate)) => {
                out.str("outcome", if duplicate { "duplicate" } else { "ok" });
                out.opt_str("id", id);
                out.shown("ref", reference);
            }
            Ok(Settled::Array { count, refs, duplicate }) => {
                out.str("outcome", if duplicate { "duplicate" } else { "ok" });
                out.opt_str("id", id);
                out.num("count", count);
                out.list("refs");
                refs.iter().for_each(|reference| out.text(&reference.to_string()));
                out.close_list();
                if let Some(first) = refs.first().filter(|_| duplicate) {
                    out.shown("existing", first);
                }
            }
            Err(reject) => refused(out, id, reject),
        }
        out.close();
    }

    /// The body.
    #[must_use]
    pub fn finish(mut self, summary: Summary<'_>) -> Vec<u8> {
        self.out.close_list();
        let results = self.out.into_bytes();
        let mut out = Out::with_capacity(results.len() + 160);
        out.open();
        out.opt_str("job", summary.job);
        out.num("accepted", self.accepted);
        out.num("duplicates", self.duplicates);
        out.num("rejected", self.rejected);
        if let Some((lines, chunks)) = summary.lines {
            out.num("lines", lines);
            out.num("chunks", chunks);
        }
        out.flag("closed", summary.closed);
        out.key("results");
        out.raw(&results);
        out.close();
        out.into_bytes()
    }
}

fn refused(out: &mut Out, id: Option<&str>, reject: &Reject) {
    let conflict = reject.code == Code::IdConflict;
    out.str("outcome", if conflict { "conflict" } else { "rejected" });
    out.opt_str("id", id);
    out.str("code", reject.code.word());
    out.opt_str("field", reject.field.as_deref());
    out.str("detail", &reject.detail);
    if let Some(task) = &reject.existing {
        out.shown("existing", task);
    }
}

#[cfg(test)]
mod tests;
