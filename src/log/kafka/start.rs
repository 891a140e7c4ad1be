//! Opening: the cluster, the directory, what both hold compared, threads started.

use crate::log::Error;
use crate::log::Room;
use crate::log::files::{self, make_dir, remove_temporary};
use crate::log::images;
use crate::log::kafka::copy::{Copy, directories};
use crate::log::kafka::partition::{Acks, Partition};
use crate::log::kafka::place;
use crate::log::kafka::producer::Producer;
use crate::log::kafka::reader::Reader;
use crate::log::kafka::shared::Shared;
use crate::log::kafka::{Cluster, KafkaLog, OpenReport, Options, Topics, settings, topics};
use crate::log::lock::DirLock;
use crate::log::spool::Spool;
use crate::model::id::{PartitionId, Position};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

/// Why an acknowledgement would mean less than it should, as far as it is known before anything is
/// made; empty = nothing is known against it.
///
/// # Errors
/// `Io` = the cluster is not reached.
pub fn shortcomings(cluster: &Cluster, topics: &Topics) -> Result<Vec<String>, Error> {
    let mut reasons = topics::few_copies(cluster, topics)?;
    reasons.extend(settings::differences(cluster, topics, reasons.is_empty())?);
    Ok(reasons)
}

/// Looks at the cluster as a start would, and makes nothing: how many topics are missing, and what
/// durability lacks.
///
/// # Errors
/// Why a start would be refused: `Io` = the cluster is not reached; `Settings` = a topic has
/// another number of partitions, or is missing and may not be made.
pub fn examine(cluster: &Cluster, topics: &Topics) -> Result<(usize, Vec<String>), Error> {
    let missing = topics::missing(cluster, topics)?;
    Ok((missing, shortcomings(cluster, topics)?))
}

/// See [`KafkaLog::open`].
pub(super) fn open(options: &Options) -> Result<(KafkaLog, OpenReport), Error> {
    let dir = options.dir.join("kafka");
    let [spool_dir, images_dir] = directories(&options.dir);
    if options.dir.join("format").exists() {
        return Err(Error::Settings(format!(
            "{} holds an embedded log, whose tasks log.backend=kafka would hide: use another \
             log.data-dir",
            options.dir.display()
        )));
    }
    make_dir(&options.dir)?;
    let lock = DirLock::take(&options.dir)?;
    for dir in [&dir, &spool_dir, &images_dir] {
        make_dir(dir)?;
        remove_temporary(dir)?;
    }
    let mut report = OpenReport {
        topics: topics::ensure(&options.cluster, &options.topics)?,
        ..OpenReport::default()
    };
    let copies = report.topics.reduced.is_empty();
    let differences = settings::differences(&options.cluster, &options.topics, copies)?;
    report.topics.reduced.extend(differences);
    let topic = options.topics.changelog();
    let reader = Reader::new(&options.cluster, topic.clone())?;
    let acks = Arc::new(Acks { stopwatch: options.stopwatch, ..Acks::default() });
    let (mut spools, mut ends, mut newest) = (Vec::new(), Vec::new(), BTreeMap::new());
    for id in (0..options.topics.partitions).map(PartitionId) {
        let bounds = reader.bounds(id)?;
        let spool =
            kept([&spool_dir, &images_dir], id, bounds, options.segment_bytes, &mut report)?;
        let next = spool.next();
        report.missing += bounds.1.saturating_sub(next);
        let last = spool.last()?.filter(|(at, _)| *at >= bounds.0);
        newest.extend(last.map(|(at, bytes)| (id, (at, bytes.to_vec()))));
        spools.push(spool);
        ends.push(bounds.1);
    }
    prove(&reader, &newest)?;
    let partition = |(id, spool)| Partition::new(PartitionId(id), spool, Arc::clone(&acks));
    let partitions = (0..).zip(spools).map(partition).collect::<Result<_, _>>()?;
    let shared = Arc::new(Shared::new(partitions, ends));
    let producer = Arc::new(Producer::new(&options.cluster, topic, Arc::clone(&shared))?);
    let vitals = [producer.vitals(), reader.vitals()];
    let mut threads = Vec::new();
    let (for_reader, for_producer) = (Arc::clone(&shared), Arc::clone(&shared));
    let serving = Arc::clone(&producer);
    let look = look_at_disk(options);
    look(&shared);
    threads.push(spawn("kwq-kafka-read", &shared, move || reader.serve(&for_reader))?);
    threads.push(spawn("kwq-kafka-send", &shared, move || {
        serving.serve(&for_producer, || look(&for_producer));
    })?);
    let (threads, lock) = (Mutex::new(threads), Mutex::new(Some(lock)));
    let spools = shared.partitions.iter().map(|p| Arc::clone(&p.spool)).collect();
    let copy = Copy { spools, images_dir };
    let reduced = report.topics.reduced.clone();
    Ok((KafkaLog { shared, producer, reduced, copy, acks, vitals, threads, lock }, report))
}

/// Fails the log if the thread that has it ends by a panic: nobody else would notice, and tickets
/// would wait for ever.
struct Watch(Arc<Shared>);

impl Drop for Watch {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail(Error::Failed("a thread of the log panicked".to_owned()));
        }
    }
}

fn spawn(
    name: &str,
    shared: &Arc<Shared>,
    work: impl FnOnce() + Send + 'static,
) -> Result<thread::JoinHandle<()>, Error> {
    let watch = Watch(Arc::clone(shared));
    let watched = move || {
        let _watch = watch;
        work();
    };
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(watched);
    spawned.map_err(|e| Error::Io { what: format!("starting {name}"), cause: e.to_string() })
}

/// The spool of a partition, if it and the images go with what the broker has.
fn kept(
    [spool_dir, images_dir]: [&Path; 2],
    id: PartitionId,
    (first, end): (u64, u64),
    segment_bytes: u64,
    report: &mut OpenReport,
) -> Result<Spool, Error> {
    let dir = spool_dir.join(id.to_string());
    let (spool, opened) = Spool::open(&dir, segment_bytes)?;
    report.kept += opened.records;
    let next = spool.next();
    // An image is durable before the newest segment of the spool is, so it may know more.
    let image = images::of(images_dir, id)?.first().copied().unwrap_or(Position(0));
    if next > end || image > place::position(end, 0) {
        // A copy on this machine knows records that the cluster has no more: acknowledged ones
        // were lost, or the topic was made anew. Neither may be passed over.
        return Err(Error::Settings(format!(
            "{} holds records up to offset {}, the changelog on Kafka ends at {end}: it has lost \
             records or was made anew. To go on with what Kafka holds, move the data directory \
             away",
            dir.display(),
            next.max(place::offset(image).0)
        )));
    }
    if next < first {
        // Nothing of kwq deletes records of the changelog. What is left is served, and said.
        let gone = format!("offsets {next} to {} of partition {id} are gone from Kafka", first - 1);
        tracing::error!(partition = %id, next, first, "records are gone from Kafka");
        report.topics.reduced.push(gone);
        spool.begin(first)?;
    }
    Ok(spool)
}

/// Compares the newest record that is kept of each partition with what Kafka holds there: a topic
/// that was made anew looks the same but for what it holds. Nothing is written to any copy before
/// all of them are known to be of this changelog.
fn prove(reader: &Reader, kept: &BTreeMap<PartitionId, (u64, Vec<u8>)>) -> Result<(), Error> {
    let wanted = kept.iter().map(|(id, (offset, _))| (*id, *offset)).collect();
    let found = reader.records_at(&wanted)?;
    let Some((id, (offset, _))) = kept.iter().find(|(id, kept)| found.get(id) != Some(kept)) else {
        return Ok(());
    };
    let reason = "Kafka holds another record there than this machine has kept: the changelog was \
                  made anew, or is another one. To go on with what Kafka holds, move the data \
                  directory away";
    Err(Error::Settings(format!("partition {id}, offset {offset}: {reason}")))
}

/// Sets how much may still be written by what the disk of the spool has left.
fn look_at_disk(options: &Options) -> impl Fn(&Shared) + Send + 'static {
    let (dir, segment, reserve) =
        (options.dir.clone(), options.segment_bytes, options.disk_reserve);
    move |shared| {
        let (free, total) = files::space(&dir).unwrap_or((u64::MAX, 0));
        let wanted = reserve.unwrap_or_else(|| files::auto_reserve(segment, total));
        let room = if free >= wanted {
            Room::Plenty
        } else if free > segment {
            Room::WorkOnly
        } else {
            Room::None
        };
        shared.set_room(room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_panics_fails_the_log() {
        let shared = Arc::new(Shared::new(Vec::new(), Vec::new()));
        spawn("kwq-test", &shared, || ()).unwrap().join().unwrap();
        assert!(shared.check().is_ok());
        assert!(spawn("kwq-test", &shared, || panic!("on purpose")).unwrap().join().is_err());
        assert!(matches!(shared.check(), Err(Error::Failed(_))));
    }

    #[test]
    fn what_kafka_has_lost_is_seen() {
        let dir = std::env::temp_dir().join(format!("kwq-start-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&dir));
        let (spools, images_dir) = (dir.join("spool"), dir.join("images"));
        make_dir(&dir).unwrap();
        make_dir(&spools).unwrap();
        make_dir(&images_dir).unwrap();
        let mut report = OpenReport::default();
        let mut open = |bounds| {
            kept([&spools, &images_dir], PartitionId(0), bounds, 4_096, &mut report).map(|spool| {
                spool.append(spool.next(), b"a record").unwrap();
                spool.next()
            })
        };
        assert_eq!(open((0, 0)).unwrap(), 1);
        assert!(matches!(open((0, 0)), Err(Error::Settings(_))), "the spool knows more");
        assert_eq!(open((0, 1)).unwrap(), 2);
        let image = |at| images::write(&images_dir, PartitionId(0), at, b"image").unwrap();
        image(place::position(5, 0));
        assert!(matches!(open((0, 4)), Err(Error::Settings(_))), "an image knows more");
        assert_eq!(open((0, 5)).unwrap(), 3);
        assert_eq!(open((7, 9)).unwrap(), 8, "what is left is served");
        let said = ["offsets 3 to 6 of partition 0 are gone from Kafka"];
        assert_eq!(report.topics.reduced, said);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
