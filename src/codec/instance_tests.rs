//! What was written is read alike; whatever else comes is refused in words.

use super::*;
use crate::model::id::{Epoch, Name, PartitionId, Position};
use crate::model::time::WallMs;

fn served(id: u16) -> ServedPartition {
    ServedPartition {
        partition: PartitionId(id),
        epoch: Epoch(7),
        position: Position(9),
        levels: 0b1_0000_0000,
        tasks: 12,
    }
}

fn state() -> InstanceState {
    InstanceState {
        node: Name::from("n1"),
        addr: Name::from("10.0.0.1:9090"),
        version: Name::from("0.1.0"),
        ts: WallMs(1_790_000_000_000),
        draining: false,
        waiting: 3,
        partitions: vec![served(0)],
    }
}

const TEXT: &str = "{\"node\":\"n1\",\"addr\":\"10.0.0.1:9090\",\"version\":\"0.1.0\",\
    \"ts\":1790000000000,\"draining\":false,\"waiting\":3,\"partitions\":[{\"partition\":0,\
    \"epoch\":7,\"position\":9,\"levels\":256,\"tasks\":12}]}";

#[track_caller]
fn refused(value: &str, words: &str) {
    let fault = decode(value.as_bytes()).expect_err("must be refused").to_string();
    assert!(fault.contains(words), "{fault}");
    assert!(fault.len() < 300, "{fault}");
}

#[test]
fn a_state_is_read_and_written_alike() {
    assert_eq!(encode(&state()).as_deref(), Ok(TEXT.as_bytes()));
    assert_eq!(decode(TEXT.as_bytes()), Ok(state()));
    let idle = InstanceState { partitions: vec![], draining: true, ..state() };
    assert_eq!(decode(&encode(&idle).unwrap()), Ok(idle));
}

#[test]
fn fields_of_a_later_release_are_passed_over() {
    let later = TEXT.replace("\"waiting\"", "\"zone\":{\"a\":[1,null]},\"waiting\"");
    let later = later.replace("\"tasks\"", "\"rate\":1.5,\"tasks\"");
    assert_eq!(decode(later.as_bytes()), Ok(state()));
}

#[test]
fn the_largest_state_fits() {
    let most = |bytes: usize| Name::from("\"".repeat(bytes));
    let served = |id| ServedPartition {
        epoch: Epoch(u64::MAX),
        position: Position(u64::MAX),
        levels: 0b1_1111_1111,
        tasks: u64::MAX,
        ..served(id)
    };
    let state = InstanceState {
        node: most(limits::NAME_BYTES_MAX),
        addr: most(limits::ENDPOINT_BYTES_MAX),
        version: most(limits::VERSION_BYTES_MAX),
        ts: WallMs(u64::MAX),
        draining: false,
        waiting: u64::MAX,
        partitions: (0..limits::PARTITIONS_MAX).map(served).collect(),
    };
    let bytes = encode(&state).unwrap();
    assert_eq!(decode(&bytes), Ok(state), "{} B", bytes.len());
}

#[test]
fn odd_values_are_refused_in_words() {
    let put = |from: &str, to: &str| {
        assert!(TEXT.contains(from), "{from}");
        TEXT.replace(from, to)
    };
    refused("", "EOF");
    refused("null", "invalid type");
    refused("[]", "invalid length");
    refused(&put("\"node\":\"n1\",", ""), "missing field `node`");
    refused(&put("\"draining\":false,", ""), "missing field `draining`");
    refused(&put("\"node\"", "\"addr\":\"x\",\"node\""), "duplicate field `addr`");
    refused(&put("1790000000000", "-1"), "invalid value");
    refused(&put("\"tasks\":12", "\"tasks\":1.5"), "invalid type");
    refused(&put("\"epoch\":7", "\"epoch\":18446744073709551616"), "invalid type");
    refused(&put("]}", "]}x"), "trailing");
    refused(&put("\"waiting\":3", &format!("\"waiting\":\"{}\"", "x".repeat(9_999))), "invalid");
    refused(
        &put("\"waiting\"", &format!("\"a\":{},\"waiting\"", "[".repeat(9_999))),
        "expected value",
    );
    assert!(decode(b"{\"node\":\"\xff\"}").is_err());
}

#[test]
fn what_breaks_a_bound_is_neither_read_nor_written() {
    let long = |bytes: usize| Name::from("x".repeat(bytes + 1));
    let odd: [(InstanceState, &str); 9] = [
        (InstanceState { node: Name::from(""), ..state() }, "node must have 1 to 128"),
        (InstanceState { node: long(limits::NAME_BYTES_MAX), ..state() }, "node must have"),
        (InstanceState { addr: long(limits::ENDPOINT_BYTES_MAX), ..state() }, "addr must have"),
        (InstanceState { version: long(limits::VERSION_BYTES_MAX), ..state() }, "version must"),
        (InstanceState { addr: Name::from("a\nb"), ..state() }, "control characters"),
        (
            InstanceState { partitions: vec![served(limits::PARTITIONS_MAX)], ..state() },
            "no partition 1024",
        ),
        (InstanceState { partitions: vec![served(5), served(5)], ..state() }, "5 is named twice"),
        (
            InstanceState {
                partitions: vec![ServedPartition { levels: 1 << 9, ..served(1) }],
                ..state()
            },
            "levels nobody knows",
        ),
        (
            InstanceState { partitions: (0..=1_024).map(served).collect(), ..state() },
            "1025 partitions, at most 1024",
        ),
    ];
    for (state, words) in odd {
        let fault = encode(&state).expect_err("must be refused").to_string();
        assert!(fault.contains(words), "{fault}");
        refused(&serde_json::to_string(&state).unwrap(), words);
    }
    refused(&" ".repeat(limits::INSTANCE_BYTES_MAX + 1), "262145 B, at most 262144 B");
}
