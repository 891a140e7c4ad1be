//! Opening: the cluster, the directory, what both hold compared, threads started.

use crate::log::files::{self, make_dir, remove_temporary};
use crate::log::images;
use crate::log::kafka::copy::{Copy, directories};
use crate::log::kafka::partition::{Acks, Partition};
use crate::log::kafka::place;
use crate::log::kafka::producer::Producer;
use crate::log::kafka::reader::Reader;
use crate::log::kafka::shared::Shared;
use crate::log::kafka::survey::{More, Survey};
use crate::log::kafka::{Cluster, KafkaLog, OpenReport, Options, Topics, settings, topics};
use crate::log::lock::DirLock;
use crate::log::spool::Spool;
use crate::log::{Error, Examined, Room};
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

/// Looks at the cluster as a start would, and makes nothing.
///
/// # Errors
/// Why a start would be refused: `Io` = the cluster is not reached; `Settings` = a topic has
/// another number of partitions, or is missing and may not be made.
pub fn examine(cluster: &Cluster, topics: &Topics) -> Result<Examined, Error> {
    let (missing, is_new, more) = topics::look_at_all(cluster, topics)?;
    let mut gone = Vec::new();
    if !is_new {
        let reader = Reader::new(cluster, topics.changelog())?;
        let survey = Survey::take(&reader, topics.partitions, &[])?;
        survey.check(topics.partitions, &more)?;
        gone = survey.gone();
    }
    let reduced = shortcomings(cluster, topics)?;
    Ok(Examined { missing, reduced, gone, untaken: untaken(&more, topics) })
}

fn untaken(more: &[More], topics: &Topics) -> Vec<String> {
    more.iter().filter(|more| more.loses).map(|more| more.said(topics.partitions)).collect()
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
    let (spools, kept) = spools(&spool_dir, options)?;
    let mut report = OpenReport { kept, ..OpenReport::default() };
    let topic = options.topics.changelog();
    if kept > 0 && !topics::present(&options.cluster, &topic)? {
        return Err(Error::Settings(format!(
            "the topic {topic} is gone from Kafka, and {} holds records of it: nothing is made \
             anew\nmove the data directory away to begin with nothing",
            dir.display()
        )));
    }
    report.topics = topics::ensure(&options.cluster, &options.topics)?;
    let copies = report.topics.reduced.is_empty();
    let differences = settings::differences(&options.cluster, &options.topics, copies)?;
    report.topics.reduced.extend(differences);
    let reader = Reader::new(&options.cluster, topic.clone())?;
    let firsts = spools.iter().filter_map(|spool| first(spool).transpose());
    let firsts = firsts.take(Survey::LOOKED_AT).collect::<Result<Vec<_>, _>>()?;
    let survey = Survey::take(&reader, options.topics.partitions, &firsts)?;
    survey.check(options.topics.partitions, &report.topics.more)?;
    report.topics.reduced.extend(untaken(&report.topics.more, &options.topics));
    let acks = Arc::new(Acks { stopwatch: options.stopwatch, ..Acks::default() });
    let mut newest = BTreeMap::new();
    for ((id, spool), bounds) in (0..).map(PartitionId).zip(&spools).zip(&survey.bounds) {
        let image = images::of(&images_dir, id)?.first().copied().unwrap_or(Position(0));
        fits(&dir, id, spool.next(), image, *bounds)?;
        report.missing += bounds.1.saturating_sub(spool.next());
        let last = spool.last()?.filter(|(at, _)| *at >= bounds.0);
        newest.extend(last.map(|(at, bytes)| (id, (at, bytes.to_vec()))));
    }
    let ends = survey.bounds.iter().map(|(_, end)| *end).collect();
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

/// The copy of each partition, and how many records they hold.
fn spools(spool_dir: &Path, options: &Options) -> Result<(Vec<Spool>, u64), Error> {
    let (mut spools, mut kept) = (Vec::new(), 0);
    for id in (0..options.topics.partitions).map(PartitionId) {
        let (spool, opened) = Spool::open(&spool_dir.join(id.to_string()), options.segment_bytes)?;
        kept += opened.records;
        spools.push(spool);
    }
    Ok((spools, kept))
}

/// The first record that is kept.
fn first(spool: &Spool) -> Result<Option<Vec<u8>>, Error> {
    let mut first = None;
    spool.scan(0, &mut |_, bytes| {
        first = Some(bytes.to_vec());
        false
    })?;
    Ok(first)
}

/// Does what this machine has kept of a partition, records before `next` and an image of that
/// position, go with what Kafka holds of it?
///
/// # Errors
/// `Settings`: acknowledged records are lost, or the topic was made anew. Neither may be passed
/// over: who serves what is left gives references a second time, and its images rest on nothing.
fn fits(
    dir: &Path,
    id: PartitionId,
    next: u64,
    image: Position,
    (first, end): (u64, u64),
) -> Result<(), Error> {
    let dir = dir.display();
    // An image is durable before the newest segment of the spool is, so it may know more.
    if next > end || image > place::position(end, 0) {
        return Err(Error::Settings(format!(
            "{dir} holds records of partition {id} up to offset {}, the changelog on Kafka ends at \
             {end}: it has lost records or was made anew\nmove the data directory away to go on \
             with what Kafka holds",
            next.max(place::offset(image).0)
        )));
    }
    if next < first {
        return Err(Error::Settings(format!(
            "Kafka has lost offsets {next} to {} of partition {id} of the changelog, and {dir} \
             does not hold them: its retention or somebody has deleted them\nstart an instance \
             that has kept them; its directories kafka/spool and kafka/images, while it is \
             stopped, may be copied here; without any, set another topics.prefix",
            first - 1
        )));
    }
    Ok(())
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
                  made anew, or is another one\nmove the data directory away to go on with what \
                  Kafka holds";
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
    fn what_kafka_has_lost_and_nobody_here_has_kept_is_not_passed_over() {
        let fits = |next, image: Option<u64>, bounds| {
            let image = image.map_or(Position(0), |at| place::position(at, 0));
            fits(Path::new("d"), PartitionId(0), next, image, bounds).map_err(|e| e.to_string())
        };
        let refused = |told: Result<(), String>, why: &str| told.unwrap_err().contains(why);
        assert_eq!(fits(0, None, (0, 0)), Ok(()));
        assert_eq!(fits(3, Some(5), (0, 5)), Ok(()), "an image knows more");
        assert!(refused(fits(3, None, (0, 2)), "up to offset 3"), "the spool knows more");
        assert!(refused(fits(3, Some(5), (0, 4)), "up to offset 5"), "an image does");
        assert_eq!(fits(7, None, (7, 9)), Ok(()), "all that is gone is kept here");
        assert!(refused(fits(3, None, (7, 9)), "lost offsets 3 to 6 of partition 0"));
        assert!(refused(fits(3, Some(8), (7, 9)), "lost offsets 3 to 6"), "payloads are gone");
        assert!(refused(fits(0, None, (7, 7)), "lost offsets 0 to 6"), "all of it");
    }
}
