//! Tests of the topics without a broker; `tests/kafka/set_up.rs` has those with one.

use super::*;

fn topics() -> Topics {
    Topics {
        prefix: "T".to_owned(),
        partitions: 12,
        replication: 3,
        manage: false,
        inboxes: false,
        feeds: Vec::new(),
    }
}

#[test]
fn another_number_of_partitions_says_what_to_set() {
    let all = Wanted::all(&topics());
    let seen = Seen { partitions: 3, led: true, copies: 1, brokers: 1 };
    let told = all[0].check(&seen).unwrap_err().to_string();
    let (what, cure) = told.split_once('\n').unwrap();
    assert_eq!(what, "topic T-changelog has 3 partitions, log.partitions says 12");
    assert_eq!(cure, "set log.partitions=3, or set another topics.prefix");
    let told = all[1].check(&seen).unwrap_err().to_string();
    assert!(told.contains("T-commands") && told.contains("\ngive it as many"), "{told}");
    // It was made, and is not seen.
    let late = all[0].check(&Seen { partitions: 0, ..seen }).unwrap_err().to_string();
    assert!(late.contains("T-changelog") && late.contains("\nstart again"), "{late}");
    assert!(!late.contains("log.partitions"), "{late}");
    let gossip = all.iter().find(|wanted| wanted.kind == Kind::Gossip).unwrap();
    let told = gossip.check(&seen).unwrap_err().to_string();
    assert!(!told.contains("set log.partitions="), "{told}");
}

#[test]
fn many_partitions_are_made_by_several_requests() {
    let sizes = |partitions| {
        let all = Wanted::all(&Topics { partitions, inboxes: true, ..topics() });
        let wanted: Vec<_> = all.iter().collect();
        requests(&wanted).iter().map(|some| some.len()).collect::<Vec<_>>()
    };
    assert_eq!(sizes(12), [12]);
    // The gossip, which comes last, has one partition.
    assert_eq!(sizes(1_024), [[1; 10].as_slice(), &[2]].concat());
    assert_eq!(sizes(600), [3, 3, 3, 3]);
    assert!(requests(&[]).is_empty());
}

#[test]
fn a_missing_topic_comes_with_the_command_that_makes_it() {
    let brokers = "k:9092".to_owned();
    let cluster = Cluster { brokers, client_id: String::new(), properties: Vec::new() };
    let all = Wanted::all(&topics());
    let told = absent(&cluster, &all.iter().collect::<Vec<_>>(), 3).to_string();
    let mut lines = told.lines();
    let names = "T-changelog, T-commands, T-cluster";
    let what = format!("topics are missing, and topics.manage=false: {names}");
    assert_eq!(lines.next(), Some(what.as_str()));
    let begin = "kafka-topics.sh --bootstrap-server k:9092 --create --topic T-changelog \
                 --partitions 12 --replication-factor 3 --config min.insync.replicas=2 ";
    assert!(lines.next().is_some_and(|line| line.starts_with(begin)), "{told}");
}
