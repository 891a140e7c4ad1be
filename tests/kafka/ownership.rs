//! Several instances on one changelog: the log decides who owns a partition (P19).

use crate::broker::{kcat, open, options, prefix};
use crate::log_contract::kit::{TempDir, all, cancelled, own, p, put, submitted, text};
use crate::util::wait_until;
use kwq::log::kafka::{KafkaLog, Options, examine};
use kwq::log::{Batch, Error, EventLog};
use kwq::model::id::{Epoch, Position};
use kwq::model::priority::Priority;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

/// Waits until what one instance knows is known to another.
fn follow(log: &dyn EventLog, end: Position) {
    let follows = wait_until(30_000, || log.end(p(1)) >= end);
    assert!(follows, "an instance follows what another appends");
}

fn append(log: &KafkaLog, epoch: Epoch, seq: u64) -> Result<Vec<Position>, Error> {
    let batch = Batch { epoch, events: vec![cancelled(seq)].into() };
    Ok(log.append(p(1), batch)?.wait()?.positions)
}

#[test]
fn what_one_instance_appends_every_other_reads_at_the_same_positions() {
    let (prefix, dirs) = (prefix(), [TempDir::new(), TempDir::new()]);
    let [one, two] = dirs.each_ref().map(|dir| open(&options(&prefix, dir)));
    let epoch = own(&one, 1);
    let at = put(&one, 1, epoch, vec![submitted(1, &[b"1", b"22"]), cancelled(1)])[0];
    follow(&two, one.end(p(1)));
    assert_eq!(all(&two).unwrap(), all(&one).unwrap());
    assert_eq!(two.read_tasks(&[text(1, (at, 1))]).unwrap()[0].spec.payload.bytes, b"22");
}

#[test]
fn a_deposed_owner_is_told_nothing_and_its_batches_are_void_for_everybody() {
    let (prefix, dirs) = (prefix(), [TempDir::new(), TempDir::new()]);
    let [old, new] = dirs.each_ref().map(|dir| open(&options(&prefix, dir)));
    let first = own(&old, 1);
    append(&old, first, 1).unwrap();
    let second = own(&new, 1);
    // It does not know yet: no rebalance told it. The log does.
    assert!(matches!(append(&old, first, 2), Err(Error::Fenced(_))));
    assert!(matches!(append(&old, first, 3), Err(Error::Fenced(_))), "for good");
    append(&new, second, 4).unwrap();
    follow(&old, new.end(p(1)));
    let seen = all(&new).unwrap();
    assert_eq!(seen.len(), 4, "two owners, and a batch of each: {seen:?}");
    assert_eq!(all(&old).unwrap(), seen);
    // What it could not append lies in the topic all the same: a third reads it and passes it over.
    let third = TempDir::new();
    assert_eq!(all(&open(&options(&prefix, &third))).unwrap(), seen);
    // It may take the partition again.
    let third = own(&old, 1);
    assert!(third > second);
    append(&old, third, 5).unwrap();
    assert!(matches!(append(&new, second, 6), Err(Error::Fenced(_))));
}

#[test]
fn late_batches_of_an_older_epoch_are_stepped_over() {
    let (prefix, dirs) = (prefix(), [TempDir::new(), TempDir::new()]);
    let [old, new] = dirs.each_ref().map(|dir| open(&options(&prefix, dir)));
    let first = own(&old, 1);
    let second = own(&new, 1);
    for seq in 0..20 {
        assert!(append(&old, first, seq).is_err());
        // Where the old one wrote first there is a gap before this one, and it is looked into.
        append(&new, second, 100 + seq).unwrap();
    }
    let seen = all(&new).unwrap();
    assert_eq!(seen.len(), 2 + 20);
    follow(&old, new.end(p(1)));
    assert_eq!(all(&old).unwrap(), seen);
}

#[test]
fn an_instance_that_was_away_reads_the_rest_and_one_without_a_spool_reads_all() {
    let (prefix, dirs) = (prefix(), [TempDir::new(), TempDir::new()]);
    let log = open(&options(&prefix, &dirs[0]));
    let epoch = own(&log, 1);
    put(&log, 1, epoch, vec![cancelled(1)]);
    drop(log);
    let other = open(&options(&prefix, &dirs[1]));
    let epoch = own(&other, 1);
    let payload = vec![b'x'; 700];
    for n in 0..300 {
        put(&other, 1, epoch, vec![submitted(n, &[&payload])]);
    }
    let seen = all(&other).unwrap();
    assert_eq!(seen.len(), 2 + 1 + 300);
    let (log, report) = KafkaLog::open(&options(&prefix, &dirs[0])).unwrap();
    assert!(report.kept == 2 && report.missing == 301, "{report:?}");
    log.catch_up(&|_| ()).unwrap();
    assert_eq!(all(&log).unwrap(), seen);
    drop(log);
    std::fs::remove_dir_all(dirs[0].path()).unwrap();
    assert_eq!(all(&open(&options(&prefix, &dirs[0]))).unwrap(), seen);
}

#[test]
fn a_changelog_that_was_made_anew_is_not_taken_for_the_old_one() {
    let (old, new, dir) = (prefix(), prefix(), TempDir::new());
    let log = open(&options(&old, &dir));
    let epoch = own(&log, 1);
    put(&log, 1, epoch, vec![cancelled(1)]);
    drop(log);
    // Shorter than what this machine has kept.
    let shorter = KafkaLog::open(&options(&new, &dir)).err();
    assert!(matches!(&shorter, Some(Error::Settings(why)) if why.contains("made anew")));
    // As long, but of other content.
    let other = TempDir::new();
    let log = open(&options(&new, &other));
    let epoch = own(&log, 1);
    put(&log, 1, epoch, vec![cancelled(2)]);
    // A partition of which nothing is kept must not be filled either.
    let epoch = own(&log, 0);
    put(&log, 0, epoch, vec![cancelled(3)]);
    for _ in 0..2 {
        let refused = KafkaLog::open(&options(&new, &dir)).err();
        assert!(matches!(&refused, Some(Error::Settings(why)) if why.contains("made anew")));
    }
    let again = open(&options(&old, &dir));
    assert_eq!(all(&again).unwrap().len(), 2, "the copy is as it was");
}

#[test]
fn two_processes_cannot_share_a_directory() {
    let (prefix, dir) = (prefix(), TempDir::new());
    let log = open(&options(&prefix, &dir));
    assert!(matches!(KafkaLog::open(&options(&prefix, &dir)), Err(Error::Locked(..))));
    drop(log);
    open(&options(&prefix, &dir));
}

#[test]
fn a_missing_topic_and_another_number_of_partitions_are_refused_in_words() {
    let (prefix, dir) = (prefix(), TempDir::new());
    let mut options = options(&prefix, &dir);
    options.topics.manage = false;
    let missing = KafkaLog::open(&options).err();
    assert!(matches!(&missing, Some(Error::Settings(why)) if why.contains("missing")));
    options.topics.manage = true;
    let (log, report) = KafkaLog::open(&options).unwrap();
    assert!(report.topics.created && report.topics.reduced.len() == 1, "{report:?}");
    drop(log);
    options.topics.partitions = 5;
    let other = KafkaLog::open(&options).err();
    assert!(matches!(&other, Some(Error::Settings(why)) if why.contains("4 partitions")));
    options.cluster.brokers = "127.0.0.1:1".into();
    let away = KafkaLog::open(&options).err();
    assert!(matches!(&away, Some(Error::Io { what, .. }) if what.contains("127.0.0.1:1")));
}

#[test]
fn a_topic_whose_settings_delete_what_was_acknowledged_is_reduced_durability() {
    let (prefix, dir) = (prefix(), TempDir::new());
    let options = options(&prefix, &dir);
    // As a broker makes it when nobody says anything: records go after a week.
    let name = options.topics.changelog();
    let topic = NewTopic::new(&name, 4, TopicReplication::Fixed(1));
    let how = AdminOptions::new();
    administrate(&options, async |admin| admin.create_topics([&topic], &how).await.map(drop));
    let reduced = KafkaLog::open(&options).unwrap().1.topics.reduced;
    assert!(reduced.iter().any(|why| why.contains("retention.ms is 604800000")), "{reduced:?}");
    assert!(reduced.iter().any(|why| why.contains("max.message.bytes is")), "{reduced:?}");
}

/// What an administrator does by hand.
fn administrate(
    options: &Options,
    act: impl AsyncFnOnce(&AdminClient<DefaultClientContext>) -> rdkafka::error::KafkaResult<()>,
) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &options.cluster.brokers);
    let admin: AdminClient<DefaultClientContext> = config.create().expect("a client");
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let done = runtime.expect("a runtime").block_on(act(&admin));
    done.expect("the brokers do it");
}

fn refused(options: &Options) -> String {
    let opened = KafkaLog::open(options);
    match opened.and_then(|(log, _)| log.catch_up(&|_| ())) {
        Err(Error::Settings(why)) => why,
        other => panic!("it is refused: {other:?}"),
    }
}

fn delete_records(options: &Options, partition: i32, before: Offset) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&options.topics.changelog(), partition, before).expect("it fits");
    let how = AdminOptions::new();
    administrate(options, async |admin| admin.delete_records(&list, &how).await.map(drop));
}

// Whoever passes over the hole serves a partition without its first tasks, and gives their
// references to others.
#[test]
fn records_that_kafka_has_lost_are_served_only_by_who_has_kept_them() {
    let (prefix, dirs) = (prefix(), [TempDir::new(), TempDir::new(), TempDir::new()]);
    let options = dirs.each_ref().map(|dir| options(&prefix, dir));
    let [one, behind] = [open(&options[0]), open(&options[1])];
    let epoch = own(&one, 1);
    follow(&behind, one.end(p(1)));
    drop(behind);
    for seq in 0..4 {
        put(&one, 1, epoch, vec![submitted(seq, &[b"1"])]);
    }
    let seen = all(&one).unwrap();
    drop(one);
    delete_records(&options[0], 1, Offset::Offset(3));
    assert!(refused(&options[1]).contains("lost offsets 1 to 2 of partition 1"));
    assert!(refused(&options[2]).contains("lost offsets 0 to 2 of partition 1"), "a new one");
    let examined = examine(&options[0].cluster, &options[0].topics).unwrap();
    assert_eq!(examined.gone, ["offsets 0 to 2 of partition 1 are gone from Kafka"]);
    let kept = open(&options[0]);
    assert_eq!(all(&kept).unwrap(), seen);
    append(&kept, own(&kept, 1), 9).unwrap();
    drop(kept);
    // What the message says helps.
    for part in ["spool", "images"] {
        let [from, to] = [0, 2].map(|i| dirs[i].path().join("kafka").join(part));
        drop(std::fs::remove_dir_all(&to));
        let copied = std::process::Command::new("cp").arg("-r").args([from, to]).status();
        assert!(copied.unwrap().success());
    }
    assert_eq!(all(&open(&options[2])).unwrap().len(), seen.len() + 2);
}

#[test]
fn partitions_that_were_added_to_topics_change_nothing_and_are_never_a_log_of_that_many() {
    let (prefix, dirs) = (prefix(), [TempDir::new(), TempDir::new()]);
    let mut options = dirs.each_ref().map(|dir| options(&prefix, dir));
    options.iter_mut().for_each(|options| options.topics.inboxes = true);
    let log = open(&options[0]);
    append(&log, own(&log, 1), 1).unwrap();
    drop(log);
    let topics = &options[0].topics;
    let inbox = topics.inbox(Priority::DEFAULT);
    let names = [topics.changelog(), topics.commands(), inbox.clone()];
    let more = names.each_ref().map(|name| NewPartitions::new(name, 6));
    let how = AdminOptions::new();
    administrate(&options[0], async |admin| admin.create_partitions(&more, &how).await.map(drop));
    let (log, report) = KafkaLog::open(&options[0]).unwrap();
    let untaken = format!("{inbox} has 6 partitions, the log has 4");
    assert!(report.topics.reduced.iter().any(|why| why.starts_with(&untaken)), "{report:?}");
    log.catch_up(&|_| ()).unwrap();
    append(&log, own(&log, 1), 2).unwrap();
    drop(log);
    for options in &mut options {
        // All that is left have six.
        (options.topics.partitions, options.topics.inboxes) = (6, false);
        assert!(refused(options).contains("was made with 4 partitions"), "kept here, and new");
        assert!(examine(&options.cluster, &options.topics).is_err());
    }
    // Kafka does not know any more what it was made with; what was kept does.
    delete_records(&options[0], 1, Offset::End);
    assert!(refused(&options[0]).contains("was made with 4 partitions"));
    options[0].topics.partitions = 4;
    assert_eq!(all(&open(&options[0])).unwrap().len(), 4);
}

#[test]
fn the_number_of_partitions_is_found_behind_records_of_others() {
    let (prefix, dirs) = (prefix(), [TempDir::new(), TempDir::new(), TempDir::new()]);
    let mut options = dirs.each_ref().map(|dir| options(&prefix, dir));
    drop(open(&options[0]));
    let changelog = options[0].topics.changelog();
    kcat(&changelog, &["-p", "1"], b"no batch of kwq\n");
    let log = open(&options[0]);
    append(&log, own(&log, 1), 1).unwrap();
    drop(log);
    let names = [changelog, options[0].topics.commands()];
    let more = names.each_ref().map(|name| NewPartitions::new(name, 6));
    let how = AdminOptions::new();
    administrate(&options[0], async |admin| admin.create_partitions(&more, &how).await.map(drop));
    assert_eq!(all(&open(&options[1])).unwrap().len(), 2, "a new machine");
    options[2].topics.partitions = 6;
    for _ in 0..2 {
        assert!(refused(&options[2]).contains("was made with 4 partitions"));
    }
}

#[test]
fn a_changelog_that_is_gone_is_not_made_anew_by_who_has_kept_some_of_it() {
    let (prefix, dir) = (prefix(), TempDir::new());
    let options = options(&prefix, &dir);
    let log = open(&options);
    append(&log, own(&log, 1), 1).unwrap();
    drop(log);
    let (name, how) = (options.topics.changelog(), AdminOptions::new());
    administrate(&options, async |admin| admin.delete_topics(&[&name], &how).await.map(drop));
    assert!(wait_until(30_000, || examine(&options.cluster, &options.topics)
        .is_ok_and(|examined| examined.missing == 1)));
    assert!(refused(&options).contains("is gone from Kafka"));
    assert_eq!(examine(&options.cluster, &options.topics).unwrap().missing, 1, "nothing is made");
}
