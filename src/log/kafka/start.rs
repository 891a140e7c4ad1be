//! Opening: the cluster, the directory, what both hold compared, threads started.

use crate::log::Error;
use crate::log::Room;
use crate::log::files::{self, make_dir, remove_temporary};
use crate::log::kafka::copy::{Copy, directories};
use crate::log::kafka::partition::{Acks, Partition};
use crate::log::kafka::producer::Producer;
use crate::log::kafka::reader::Reader;
use crate::log::kafka::shared::Shared;
use crate::log::kafka::{KafkaLog, OpenReport, Options, topics};
use crate::log::lock::DirLock;
use crate::log::spool::Spool;
use crate::model::id::PartitionId;
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;

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
    let topic = options.topics.changelog();
    let reader = Reader::new(&options.cluster, topic.clone())?;
    let acks = Arc::new(Acks { stopwatch: options.stopwatch, ..Acks::default() });
    let (mut partitions, mut ends) = (Vec::new(), Vec::new());
    for id in (0..options.topics.partitions).map(PartitionId) {
        let bounds = reader.bounds(id)?;
        let spool = kept(&spool_dir, id, bounds, options.segment_bytes, &mut report)?;
        let next = spool.next();
        report.missing += bounds.1.saturating_sub(next);
        partitions.push(Partition::new(id, spool, bounds.0, Arc::clone(&acks))?);
        ends.push(bounds.1);
    }
    let (orders, ordered) = channel();
    for partition in &partitions {
        orders.send(partition.order()).map_err(|e| Error::Failed(e.to_string()))?;
    }
    let shared = Arc::new(Shared::new(partitions, ends, orders));
    let producer = Arc::new(Producer::new(&options.cluster, topic, Arc::clone(&shared))?);
    let mut threads = Vec::new();
    let (for_reader, for_producer) = (Arc::clone(&shared), Arc::clone(&shared));
    let serving = Arc::clone(&producer);
    let look = look_at_disk(options);
    look(&shared);
    threads.push(spawn("kwq-kafka-read", move || reader.serve(&for_reader, &ordered))?);
    threads.push(spawn("kwq-kafka-send", move || {
        serving.serve(&for_producer, || look(&for_producer));
    })?);
    let (threads, lock) = (Mutex::new(threads), Mutex::new(Some(lock)));
    let spools = shared.partitions.iter().map(|p| Arc::clone(&p.spool)).collect();
    let copy = Copy { spools, images_dir };
    let reduced = report.topics.reduced.clone();
    Ok((KafkaLog { shared, producer, reduced, copy, acks, threads, lock }, report))
}

fn spawn(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> Result<thread::JoinHandle<()>, Error> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map_err(|e| Error::Io { what: format!("starting {name}"), cause: e.to_string() })
}

/// The spool of a partition, if it goes with what the broker has.
fn kept(
    dir: &Path,
    id: PartitionId,
    (first, end): (u64, u64),
    segment_bytes: u64,
    report: &mut OpenReport,
) -> Result<Spool, Error> {
    let dir = dir.join(id.to_string());
    let (spool, opened) = Spool::open(&dir, segment_bytes)?;
    report.kept += opened.records;
    if spool.next() > end {
        // A copy on this machine knows records that the cluster has no more: acknowledged ones
        // were lost, or the topic was made anew. Neither may be passed over.
        return Err(Error::Settings(format!(
            "{} holds records up to offset {}, the changelog on Kafka ends at {end}: it has lost \
             records or was made anew. To go on with what Kafka holds, move the data directory away",
            dir.display(),
            spool.next()
        )));
    }
    if spool.next() < first {
        if spool.next() > 0 {
            tracing::warn!(partition = %id, first, "the spool is too old and is read anew");
        }
        spool.begin(first)?;
    }
    Ok(spool)
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
