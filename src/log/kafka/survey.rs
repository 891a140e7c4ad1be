//! What the changelog holds, looked at before anything of it is read into a copy: the bounds of
//! each partition, and the number of partitions it was made with.
//!
//! Ids, jobs and keys belong to partitions by that number, so a log is served with it or not at
//! all. A topic can be given more partitions later; nobody can take them away again, and none of
//! them is used.

use crate::codec::changelog;
use crate::log::Error;
use crate::log::kafka::reader::Reader;
use crate::model::id::PartitionId;

/// A topic that has more partitions than it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct More {
    /// Its name.
    pub topic: String,
    /// So many it has.
    pub partitions: usize,
    /// Others write to them, too, and that is not taken.
    pub loses: bool,
}

impl More {
    /// Why a start is refused that would make a log on it.
    pub(super) fn refused(&self, partitions: u16) -> Error {
        let Self { topic, partitions: there, .. } = self;
        Error::Settings(format!(
            "topic {topic} has {there} partitions, log.partitions says {partitions}\nset \
             log.partitions={there}, or set another topics.prefix"
        ))
    }

    /// What it means where the log was made with fewer.
    pub(super) fn said(&self, partitions: u16) -> String {
        let Self { topic, partitions: there, .. } = self;
        format!(
            "{topic} has {there} partitions, the log has {partitions}: what is produced to the \
             others is not taken"
        )
    }
}

/// What was seen.
pub(super) struct Survey {
    /// First offset kept and the one behind the last, of each partition.
    pub(super) bounds: Vec<(u64, u64)>,
    /// As its first owners have said. If not, whoever reads on finds another one that does
    /// ([`check`]).
    made_with: Option<u16>,
}

/// Is the number of partitions that an owner names the one it is read with?
///
/// # Errors
/// `Settings`: it is another one.
pub(super) fn check(said: Option<u16>, partitions: u16) -> Result<(), Error> {
    match said {
        Some(said) if said != partitions => Err(Error::Settings(format!(
            "the log on Kafka was made with {said} partitions, log.partitions says {partitions}: \
             ids, jobs and keys belong to partitions by that number\nset log.partitions={said}, \
             or another topics.prefix"
        ))),
        Some(_) | None => Ok(()),
    }
}

impl Survey {
    /// First records that are looked at; the first one of an owner tells.
    pub(super) const LOOKED_AT: usize = 3;

    /// Looks at so many partitions. `kept`: first records of which this machine has a copy.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn take(reader: &Reader, partitions: u16, kept: &[Vec<u8>]) -> Result<Self, Error> {
        let ids = (0..partitions).map(PartitionId);
        let bounds = ids.map(|id| reader.bounds(id)).collect::<Result<Vec<_>, _>>()?;
        let whole = |(_, (first, end)): &(u16, (u64, u64))| *first == 0 && end > first;
        let whole = (0..).zip(bounds.iter().copied()).filter(whole).take(Self::LOOKED_AT);
        let wanted = whole.map(|(id, (first, _))| (PartitionId(id), first)).collect();
        let found = reader.records_at(&wanted)?;
        let kept = kept.iter().map(Vec::as_slice);
        let mut firsts = kept.chain(found.values().map(|(_, bytes)| bytes.as_slice()));
        let made_with = firsts.find_map(changelog::partitions);
        Ok(Self { bounds, made_with })
    }

    /// Is this number of partitions the one it was made with? `more`: topics that have more.
    ///
    /// # Errors
    /// `Settings`: it is another one; or nothing was written yet, and topics have another one.
    pub(super) fn check(&self, partitions: u16, more: &[More]) -> Result<(), Error> {
        let written = self.bounds.iter().any(|(_, end)| *end > 0);
        match more.first() {
            // Nothing was decided under any number yet.
            Some(more) if !written => Err(more.refused(partitions)),
            _ => check(self.made_with, partitions),
        }
    }

    /// What Kafka has lost, a line a partition. Nothing of kwq deletes records of the changelog.
    pub(super) fn gone(&self) -> Vec<String> {
        let gone = |(id, (first, _)): (usize, &(u64, u64))| {
            (*first > 0).then(|| {
                format!("offsets 0 to {} of partition {id} are gone from Kafka", first - 1)
            })
        };
        self.bounds.iter().enumerate().filter_map(gone).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey(made_with: Option<u16>) -> Survey {
        Survey { bounds: vec![(0, 9), (4, 9), (0, 0)], made_with }
    }

    #[test]
    fn a_log_is_served_with_the_number_of_partitions_it_was_made_with_or_not_at_all() {
        let more = [More { topic: "T-changelog".to_owned(), partitions: 6, loses: false }];
        assert!(survey(Some(3)).check(3, &[]).is_ok());
        assert!(survey(Some(3)).check(3, &more).is_ok(), "the others are not used");
        assert!(survey(None).check(3, &[]).is_ok());
        assert!(survey(None).check(3, &more).is_ok(), "whoever reads on finds out");
        let other = survey(Some(3)).check(6, &[]).unwrap_err().to_string();
        assert!(other.contains("\nset log.partitions=3"), "{other}");
        let new = Survey { bounds: vec![(0, 0)], made_with: None };
        assert!(new.check(3, &[]).is_ok());
        let new = new.check(3, &more).unwrap_err().to_string();
        assert!(new.starts_with("topic T-changelog has 6 partitions"), "{new}");
    }

    #[test]
    fn what_is_gone_is_named() {
        assert_eq!(survey(None).gone(), ["offsets 0 to 3 of partition 1 are gone from Kafka"]);
    }
}
