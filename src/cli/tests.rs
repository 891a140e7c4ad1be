//! The command line as a whole, and what people read.

use super::failure::{Failure, exit};
use super::{Cli, human, jobs};
use crate::client::{Error, Problem};
use clap::{CommandFactory, Parser};
use serde_json::json;

#[test]
fn the_command_tree_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_verb_and_flag_has_a_help_text() {
    let mut open = vec![Cli::command()];
    while let Some(command) = open.pop() {
        let name = command.get_name().to_owned();
        for flag in command.get_arguments().filter(|flag| !flag.is_hide_set()) {
            let id = flag.get_id();
            assert!(flag.get_help().is_some() || id == "help", "{name}: {id} has no help");
        }
        for verb in command.get_subcommands() {
            assert!(verb.get_about().is_some(), "{} has no help", verb.get_name());
            open.push(verb.clone());
        }
    }
}

#[test]
fn verbs_of_the_contract_parse() {
    let lines = [
        "kwq serve --config f --listen 127.0.0.1:0 --data-dir d --log embedded --partitions 3 \
         --durability os --insecure-no-auth --strict --set a=b --set c=d",
        "kwq dev --listen 127.0.0.1:0 --data-dir d --workers 2 --tasks 100 --no-demo",
        "kwq submit f --job j --id i --priority 9 --tag a:b --tag c --affinity k --each-line \
         --delay 5s --max-attempts 2 --timeout-seconds 9 --key K --close --wait",
        "kwq submit - --job j",
        "kwq submit --array 1-10:2 --payload {i}",
        "kwq submit --count 3",
        "kwq work -j 4 --worker w --endpoint e --job a --job b --priorities 9,8 --affinity k \
         --lease 60s --target 500ms --max-tasks 3 --idle-exit 2s --grace 1s -- sh -c true",
        "kwq job create J --priority 9 --weight 3 --dedup task --tag a:b",
        "kwq job wait last --for done,firstError --timeout 5s",
        "kwq job cancel all --mode drop-queued --reason r --yes",
        "kwq job set J --priority 8 --weight 2",
        "kwq task ls --job j --state PENDING --tag a:b --tag c --order old --fresh -o quiet",
        "kwq queue pause 5 --reason r",
        "kwq worker drain w --undo",
        "kwq dlq ls --class exit:1",
        "kwq dlq redrive --job j --class c --tag a:b --all",
        "kwq dlq purge --all --yes",
        "kwq op stop op-1",
        "kwq worker rm w",
        "kwq task payload T --job j",
        "kwq task result T",
        "kwq job results J --follow",
        "kwq job breakdown J --by tag:k",
        "kwq job rm tag=k:v",
        "kwq top --once --interval 1s",
        "kwq simulate --tasks 9 --workers 2 --wait",
        "kwq token create --name n --role view --role operate --scope eod- --expires 7d",
        "kwq man pages",
        "kwq log dump --json --partition 0 --from 5 --data-dir d",
        "kwq log repair --to-offset 7 --dry-run",
        "kwq state hash --from-zero",
        "kwq config show --origin",
        "kwq bench load --spawn --phases submit,restart --single",
    ];
    for line in lines {
        let parsed = Cli::try_parse_from(line.split_whitespace());
        assert!(parsed.is_ok(), "{line}: {}", parsed.expect_err("checked"));
    }
}

#[test]
fn contradictions_are_wrong_usage() {
    let lines = [
        "kwq submit f --payload x",
        "kwq submit --array 1-2 --count 3",
        "kwq submit --each-line",
        "kwq work",
        "kwq work --idle-exit 5 -- cat",
        "kwq bench load --batch 1001",
        "kwq top --interval 99ms",
        "kwq job ls -o yaml",
        "kwq job ls --timeout 5",
    ];
    for line in lines {
        assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{line}");
    }
}

#[test]
fn each_class_of_refusal_has_its_exit_code() {
    let cases = [
        (400, exit::FAILED),
        (401, exit::DENIED),
        (403, exit::DENIED),
        (404, exit::MISSING),
        (409, exit::CONFLICT),
        (410, exit::MISSING),
        (422, exit::FAILED),
        (429, exit::AWAY),
        (500, exit::FAILED),
        (503, exit::AWAY),
        (507, exit::AWAY),
    ];
    for (status, code) in cases {
        let problem = Problem { status, code: "x".to_owned(), ..Problem::default() };
        assert_eq!(Failure::from(Error::Refused(Box::new(problem))).exit, code, "{status}");
    }
    let away = Error::Unreachable { url: "u".to_owned(), cause: "c".to_owned() };
    assert_eq!(Failure::from(away).exit, exit::AWAY);
}

#[test]
fn a_failure_says_what_and_what_to_do() {
    let failure = Failure::usage("no such thing").help("try another");
    assert_eq!(failure.text(), "error[usage]: no such thing\nhelp: try another");
    let problem = Problem {
        status: 422,
        code: "invalid_field".to_owned(),
        detail: "priority must be 1..9".to_owned(),
        field: Some("priority".to_owned()),
        hint: Some("9 is the most urgent".to_owned()),
        ..Problem::default()
    };
    let text = Failure::from(Error::Refused(Box::new(problem))).text();
    assert!(text.starts_with("error[invalid_field]: priority: priority must be 1..9"), "{text}");
    assert!(text.ends_with("help: 9 is the most urgent"), "{text}");
}

#[test]
fn every_code_the_command_line_can_end_with_has_a_page() {
    let sources = [
        include_str!("failure.rs"),
        include_str!("serve.rs"),
        include_str!("jobs.rs"),
        include_str!("submit.rs"),
        include_str!("submit/input.rs"),
        include_str!("work/cycle.rs"),
        include_str!("bench.rs"),
        include_str!("bench/server.rs"),
        include_str!("dev/demo.rs"),
    ];
    let mut seen = 0;
    for source in sources {
        for rest in source.split("Failure::new(\"").chain(source.split("Self::new(\"")).skip(1) {
            let code = rest.split('"').next().unwrap_or_default();
            if code.is_empty() || !code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
                continue;
            }
            seen += 1;
            let page = crate::api::assets::error_text(code);
            assert!(page.is_some(), "docs/errors/{code}.md is missing");
        }
    }
    assert!(seen >= 20, "only {seen} codes were found: has the source changed its shape?");
}

#[test]
fn numbers_read_like_numbers() {
    assert_eq!(human::grouped(0), "0");
    assert_eq!(human::grouped(1_234_567), "1,234,567");
    assert_eq!(human::short(9_999), "9,999");
    assert_eq!(human::short(4_100_000), "4.1 M");
    assert_eq!(human::duration(999), "999 ms");
    assert_eq!(human::duration(8_500), "8.5 s");
    assert_eq!(human::duration(540_000), "9 min");
    assert_eq!(human::bytes(1_536), "1.5 KiB");
    assert_eq!(human::bar(1, 2, 4), "██░░");
    assert_eq!(human::bar(0, 0, 4), "░░░░");
    assert_eq!(human::bar(9, 2, 4), "████");
}

#[test]
fn the_nearest_word_is_offered_only_when_it_is_near() {
    let words = ["serve", "submit", "lease_lost"];
    assert_eq!(human::nearest("srve", &words), Some("serve"));
    assert_eq!(human::nearest("lease_los", &words), Some("lease_lost"));
    assert_eq!(human::nearest("zebra", &words), None);
}

#[test]
fn a_job_row_shows_what_people_ask_for() {
    let job = json!({
        "id": "var", "priority": 5, "state": "CLOSED", "paused": false, "submitted": 100,
        "live": 25,
        "counts": {"RUNNING": 2, "ERROR": 3}, "ratePerSec": 2.0, "affinity": {"hitRatio": 0.93},
    });
    let cells = jobs::cells(&job);
    assert_eq!(cells[0], "var");
    assert_eq!(cells[2], "RUNNING");
    assert_eq!(cells[3], "75 / 100          ██████████░░░░");
    assert_eq!(cells[4], "2.0/s");
    assert_eq!(cells[6], "3");
    assert_eq!(cells[7], "93 %");
    let paused = json!({"id": "x", "state": "OPEN", "paused": true});
    assert_eq!(jobs::cells(&paused)[2], "PAUSED");
}

#[test]
fn a_log_that_says_what_to_do_is_believed() {
    use crate::log::Error as LogError;
    let cause = "timed out\ncheck kafka.bootstrap-servers".to_owned();
    let away = LogError::Io { what: "reaching Kafka at a:1".to_owned(), cause };
    assert_eq!(
        super::serve::log_failure(&away).text(),
        "error[log]: reaching Kafka at a:1: timed out\nhelp: check kafka.bootstrap-servers"
    );
    let disk = LogError::Io { what: "opening a".to_owned(), cause: "denied".to_owned() };
    assert!(super::serve::log_failure(&disk).text().contains("owner and free space"));
    // Of Kafka as of a disk.
    let failed = LogError::Failed("reading T: away".to_owned());
    assert!(super::serve::log_failure(&failed).text().contains("looks at the directory, and at"));
}

#[test]
fn a_strict_start_says_what_is_missing() {
    let help = |reasons: &str| {
        super::serve::start_failure(&crate::node::Error::Strict(reasons.to_owned())).text()
    };
    assert!(help("log.durability=os").contains("use --durability fsync"));
    let few = help("topics would be made with 1 of 3 copies: brokers 1, topics.replication 3");
    assert!(few.contains("brokers 1, topics.replication 3) and log.strict is on"), "{few}");
    assert!(few.contains("3 brokers and topics.replication=3"), "{few}");
    assert!(few.contains("min.insync.replicas=2") && !few.contains("fsync"), "{few}");
    let set = help("T-changelog: retention.ms is 7: older records are deleted: set -1");
    assert!(set.contains("kafka-configs.sh"), "{set}");
}
