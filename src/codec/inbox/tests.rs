//! Records of foreign producers: what they come to, and that no bytes do harm.

use super::*;
use crate::model::dead::{DeadClass, DeadInput};
use crate::model::tags::TagSet;
use crate::model::task::Encoding;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

type Header<'a> = (&'a str, Option<&'a [u8]>);

const NOW: WallMs = WallMs(1_000_000);

fn bounds() -> Bounds {
    Bounds { rules: Rules { now: NOW, ..Rules::default() }, ..Bounds::default() }
}

/// A task or array, or what is kept of what is none.
type Outcome = Result<Item, Box<DeadInput>>;

fn items(value: Option<&[u8]>, headers: &[Header<'_>]) -> Vec<InboxItem> {
    let level = Priority::new(7).expect("a level");
    let record = InboxRecord { level, offset: 17, at: WallMs(0), value, headers };
    decode(&record, &bounds()).items
}

fn outcomes(items: Vec<InboxItem>) -> Vec<Outcome> {
    let outcome = |item: InboxItem| match item.item {
        Item::Dead(dead) => Err(dead),
        live @ (Item::Task(_) | Item::Array(_) | Item::Share(_)) => Ok(live),
    };
    items.into_iter().map(outcome).collect()
}

fn read(value: Option<&[u8]>, headers: &[Header<'_>]) -> Vec<Outcome> {
    outcomes(items(value, headers))
}

fn text<'a>(name: &'a str, value: &'a str) -> Header<'a> {
    (name, Some(value.as_bytes()))
}

#[track_caller]
fn task(value: &str, headers: &[Header<'_>]) -> TaskInput {
    match <[Outcome; 1]>::try_from(read(Some(value.as_bytes()), headers)) {
        Ok([Ok(Item::Task(task))]) => task,
        other => panic!("one task is expected of {value}: {other:?}"),
    }
}

#[track_caller]
fn dead(value: Option<&[u8]>, headers: &[Header<'_>]) -> DeadInput {
    match <[Outcome; 1]>::try_from(read(value, headers)) {
        Ok([Err(dead)]) => *dead,
        other => panic!("one dead letter is expected: {other:?}"),
    }
}

fn name(text: &str) -> Option<Name> {
    Some(text.into())
}

#[test]
fn a_task_is_read_as_rest_reads_it() {
    let seed = r#"{"id":"t1","groupId":"var","tag":"currency:USD","payload":"{\"trade\":10}",
        "source":"risk","meta":"m","timeoutSeconds":30,"status":"SUBMITTED","worker":"w",
        "workerEndpoint":"e","runCount":3,"submitted_ts":5,"allocated_ts":0}"#;
    let rest = json::object(seed).expect("JSON");
    let rest = task::parse(&rest, None, &Rules::default()).expect("a task of REST");
    let level = Priority::new(7);
    assert_eq!(task(seed, &[]), TaskInput { priority: level, ..rest });
    assert_eq!(task("{}", &[]), TaskInput { priority: level, ..TaskInput::default() });
}

#[test]
fn the_topic_gives_the_priority_and_unknown_fields_are_ignored() {
    for own in ["3", "0", "99", "\"high\"", "null"] {
        let read = task(&format!(r#"{{"priority":{own},"colour":"red","affinity":null}}"#), &[]);
        assert_eq!((read.priority, read.affinity), (Priority::new(7), None), "{own}");
    }
}

#[test]
fn headers_stand_instead_of_fields() {
    let value = r#"{"id":"own","job":"own","tags":["own"],"affinity":["own"],"payload":1,
        "traceparent":"own"}"#;
    let read = task(
        value,
        &[
            text("kwq-job", "var"),
            text("kwq-id", "say \"t1\""),
            text("kwq-tags", "risk:CR01,PV01"),
            text("kwq-affinity", "curve=USD, curve=EUR"),
            text("traceparent", "00-a-b-01"),
            text("content-type", "application/json"),
        ],
    );
    assert_eq!((read.job, read.id), (name("var"), name("say \"t1\"")));
    assert_eq!((read.tag, read.traceparent), (name("risk:CR01,PV01"), name("00-a-b-01")));
    let keys: Vec<_> = read.affinity.iter().flatten().map(|key| &*key.key).collect();
    assert_eq!(keys, ["curve=USD", "curve=EUR"]);
    assert_eq!(read.payload.bytes, b"1");
}

#[test]
fn of_a_header_that_comes_twice_the_last_one_counts_and_none_is_no_header() {
    let twice = [text("kwq-job", "first"), text("kwq-job", "last")];
    assert_eq!(task(r#"{"job":"own"}"#, &twice).job, name("last"));
    let unset = [text("kwq-job", "first"), ("kwq-job", None)];
    assert_eq!(task(r#"{"job":"own"}"#, &unset).job, name("own"));
    let empty = [text("kwq-tags", ""), text("kwq-affinity", "")];
    let read = task(r#"{"tag":"own","affinity":"own"}"#, &empty);
    assert_eq!((read.tag, read.affinity), (None, Some(Vec::new())));
}

#[test]
fn bad_tags_are_left_out() {
    let long = "x".repeat(limits::TAG_VALUE_BYTES_MAX + 1);
    let header = format!("good,k:{long},behind,:a:b,\u{1},k:v,w");
    let kept = task("{}", &[text("kwq-tags", &header)]).tag.expect("tags");
    let kept = TagSet::parse(&kept).expect("a kept text");
    assert_eq!(kept.iter().collect::<Vec<_>>(), ["good", "behind", "k:v", "k:w", "w"]);
    let object = r#"{"tags":{"a:b":"x","k":["v","w,x"]}}"#;
    assert_eq!(task(object, &[]).tag, name("k:v"));

    let many = |count: usize| (0..count).map(|n| format!("t{n}")).collect::<Vec<_>>().join(",");
    let first = task("{}", &[text("kwq-tags", &many(40))]).tag.expect("tags");
    assert_eq!(*first, many(32));

    // Cut at 4,096 B: the item that lies across is none.
    let text_max = limits::TAG_TEXT_BYTES_MAX;
    let far = format!("a{}b,c", " ".repeat(text_max));
    assert_eq!(task("{}", &[text("kwq-tags", &far)]).tag, None);
    let wide: Vec<_> = (0..32).map(|n| format!("{n:064}:{n:0128}")).collect();
    let kept = task(&format!(r#"{{"tags":{{}},"tag":"{},\u0001"}}"#, wide.join(",")), &[]).tag;
    let kept = kept.expect("tags");
    assert!(kept.len() <= text_max && TagSet::parse(&kept).is_ok_and(|set| set.len() == 21));
}

#[test]
fn a_raw_value_is_the_payload_as_it_is() {
    let raw = text("kwq-fmt", "raw");
    for (value, encoding) in [
        (b"".as_slice(), Encoding::Text),
        (b"plain \n text", Encoding::Text),
        (br#"{"id":"not read"}"#, Encoding::Text),
        (b"\x00\xff\xfe", Encoding::Base64),
    ] {
        let payload = Blob { encoding, bytes: value.to_vec() };
        let want = TaskInput { job: name("var"), priority: Priority::new(7), payload, ..default() };
        let read = read(Some(value), &[raw, text("kwq-job", "var")]);
        assert_eq!(read, [Ok(Item::Task(want))]);
    }
}

fn default() -> TaskInput {
    TaskInput::default()
}

#[test]
fn each_line_of_a_batch_is_judged_on_its_own() {
    let value = b"{\"id\":\"a\"}\r\n\n{\"id\":\"b\",\"leaseMs\":1}\n\xff\n{\"array\":{\"to\":2}}\n";
    let outcomes = read(Some(value), &[text("kwq-fmt", "batch"), text("kwq-job", "var")]);
    let [Ok(Item::Task(a)), Err(b), Err(c), Ok(Item::Array(array))] = outcomes.as_slice() else {
        panic!("four outcomes are expected: {outcomes:?}");
    };
    assert_eq!((&a.id, &a.job), (&name("a"), &name("var")));
    assert_eq!((&b.task.id, &b.task.job), (&name("b"), &name("var")));
    assert_eq!(b.task.payload.bytes, br#"{"id":"b","leaseMs":1}"#);
    assert_eq!(
        &*b.message,
        "record 17 of level 7, line 3: invalid_field: leaseMs must be 1000..43200000"
    );
    assert!(c.message.starts_with("record 17 of level 7, line 4: bad_json: "), "{}", c.message);
    assert_eq!((c.task.payload.encoding, &c.task.job), (Encoding::Base64, &name("var")));
    assert_eq!((array.span.count, &array.task.job), (3, &name("var")));
    assert_eq!(array.task.priority, Priority::new(7));
}

#[test]
fn a_batch_with_a_wrong_frame_is_one_dead_letter() {
    let batch = text("kwq-fmt", "batch");
    let lines = |count: usize| "{}\n".repeat(count);
    assert_eq!(read(Some(lines(1_000).as_bytes()), &[batch]).len(), 1_000);
    let cases: [(&str, &[Header<'_>], &str); 3] = [
        (&lines(1_001), &[batch], "17 of level 7: too_many_items: the batch holds more than 1,000"),
        (" \n\r\n", &[batch], "no line with a task"),
        ("{}", &[batch, text("kwq-id", "one")], "header kwq-id: invalid_field: "),
    ];
    for (value, headers, message) in cases {
        let dead = dead(Some(value.as_bytes()), headers);
        assert!(dead.message.contains(message), "{}", dead.message);
    }
}

#[test]
fn what_is_no_task_is_a_dead_letter_that_says_why() {
    let deep = format!(r#"{{"payload":{}{}}}"#, "[".repeat(40), "]".repeat(40));
    let large = format!(r#"{{"payload":"{}"}}"#, "x".repeat(limits::PAYLOAD_BYTES + 1));
    let body = format!(r#"{{"payload":"{}"}}"#, "é".repeat(limits::BODY_BYTES));
    let long = "t".repeat(129);
    let raw = text("kwq-fmt", "raw");
    let cases: &[(&[u8], &[Header<'_>], &str)] = &[
        (b"", &[], "bad_json: the value is empty"),
        (b" \n ", &[], "bad_json: the value is empty"),
        (b"\xc3\x28", &[], "not UTF-8 at byte 0; send a payload that is no task with the header"),
        (b"\xef\xbb\xbf{}", &[], "byte order mark"),
        (b"price me", &[], "bad_json: "),
        (b"17", &[], "bad_json: a JSON object is expected, not a number"),
        (b"[{}]", &[], "not an array; send several tasks as lines, with the header kwq-fmt: batch"),
        (b"{\"id\":1}", &[], "invalid_field: id must be a string, not a number"),
        (b"{\"id\":\"a\",\"id\":\"b\"}", &[], "the key `id` comes twice"),
        (b"{\"id\":\"5-0-17\"}", &[], "reserved_id: "),
        (b"{\"tags\":7}", &[], "invalid_field: tags must be an array"),
        (b"{\"requires\":\"gpu\"}", &[], "not_supported: "),
        (b"{\"array\":{}}", &[], "array.to is required"),
        (b"{\"array\":{\"to\":3}}", &[text("kwq-id", "a")], "header kwq-id: invalid_field: "),
        (deep.as_bytes(), &[], "nested deeper than 32 levels"),
        (large.as_bytes(), &[], "payload_too_large: payload has 262145 B; at most 262144"),
        (large.as_bytes(), &[raw], "payload_too_large: 262159 B are too many; at most 262144"),
        (body.as_bytes(), &[], "body_too_large: 2097166 B are too many; at most 1048576"),
        (b"{}", &[("kwq-job", Some(b"\xff"))], "the header kwq-job is not UTF-8 at byte 0"),
        (b"{}", &[("kwq-fmt", Some(b"\xff"))], "the header kwq-fmt is not UTF-8 at byte 0"),
        (b"{}", &[text("kwq-fmt", "avro")], "the header kwq-fmt is `avro`; raw and batch are"),
        (b"{}", &[text("kwq-id", "")], "header kwq-id: invalid_field: id must have 1..128 bytes"),
        (b"{}", &[text("kwq-id", "1-2-3")], "header kwq-id: reserved_id: "),
        (b"{}", &[text("kwq-job", " x")], "header kwq-job: invalid_field: groupId must not begin"),
        (b"{}", &[text("kwq-affinity", &long)], "header kwq-affinity: invalid_field: "),
        (b"{}", &[text("traceparent", &long)], "invalid_field: traceparent has 129 B"),
    ];
    for (value, headers, message) in cases {
        let letters = read(Some(value), headers);
        let pieces = value.len().div_ceil(limits::INBOX_PIECE_BYTES).max(1);
        assert_eq!(letters.len(), pieces, "{message}");
        for letter in &letters {
            let Err(dead) = letter else { panic!("{message}: {letter:?}") };
            assert!(dead.message.contains(message), "{message}: {}", dead.message);
            let place = dead.message.find("record 17 of level 7").expect("where it lies");
            assert_eq!(place > 0, pieces > 1, "{}", dead.message);
            let later = message.starts_with("not_supported");
            let class = if later { DeadClass::NotSupported } else { DeadClass::Malformed };
            assert_eq!((dead.class, dead.task.priority), (class, Priority::new(7)));
        }
        assert!(joined(letters) == *value, "{message}");
    }
}

/// Payloads of dead letters one after another.
fn joined(letters: Vec<Outcome>) -> Vec<u8> {
    letters.into_iter().flat_map(|letter| letter.expect_err("dead").task.payload.bytes).collect()
}

#[test]
fn a_record_larger_than_a_dead_letter_is_kept_as_numbered_pieces() {
    let level = Priority::new(7).expect("a level");
    let value: Vec<u8> = (0..700_000u32).map(|n| n.to_le_bytes()[0]).collect();
    let headers = [text("other", "x"), text("kwq-fmt", "raw"), text("kwq-job", "var")];
    let letters = read(Some(&value), &headers);
    let begins = [
        "piece 1 of 3, bytes 0 to 262143 of record 17 of level 7: payload_too_large: 700000 B",
        "piece 2 of 3, bytes 262144 to 524287 of record 17 of level 7: payload_too_large: ",
        "piece 3 of 3, bytes 524288 to 699999 of record 17 of level 7: payload_too_large: ",
    ];
    assert_eq!(letters.len(), begins.len());
    let shown = "kwq-fmt=raw\nkwq-job=var\nother=x";
    for (letter, begin) in letters.iter().zip(begins) {
        let dead = letter.as_ref().expect_err("it is dead");
        assert!(dead.message.starts_with(begin), "{}", dead.message);
        assert_eq!((&dead.task.job, dead.task.priority), (&name("var"), Some(level)));
        let meta = begin.starts_with("piece 1 ").then_some(shown);
        assert_eq!(dead.task.meta.as_deref(), meta, "the first has the headers");
    }
    assert!(joined(letters) == value);
}

#[test]
fn a_line_larger_than_a_dead_letter_is_kept_whole_and_the_others_are_tasks() {
    let long = format!("{{\"id\":\"b\",\"payload\":\"{}\"}}", "é".repeat(300_000));
    let value = format!("{{\"id\":\"a\"}}\n{long}\n{{\"id\":\"c\"}}");
    let mut letters = read(Some(value.as_bytes()), &[text("kwq-fmt", "batch")]);
    assert!(letters.remove(0).is_ok() && letters.pop().is_some_and(|last| last.is_ok()));
    let texts = |dead: &DeadInput| dead.task.payload.encoding == Encoding::Text;
    assert!(
        letters.iter().all(|letter| letter.as_ref().is_err_and(|dead| texts(dead))),
        "cut between letters"
    );
    let second = letters[1].as_ref().expect_err("dead");
    assert!(second.message.contains(" of record 17 of level 7, line 2: line_too_large: "));
    assert!(joined(letters) == long.as_bytes());
}

#[test]
fn what_may_still_be_refused_has_its_record_with_it() {
    let batch = [text("kwq-fmt", "batch"), ("kwq-tags", Some(b"\xff\n"))];
    let value = b"{\"id\":\"a\"}\r\n\n{\"array\":{\"to\":2}}";
    let mut headers = batch.to_vec();
    headers.pop();
    let read = items(Some(value), &headers);
    let sources: Vec<_> = read.iter().map(|i| (i.source.line, i.source.text.as_slice())).collect();
    let array = b"{\"array\":{\"to\":2}}".as_slice();
    assert_eq!(sources, [(Some(1), b"{\"id\":\"a\"}".as_slice()), (Some(3), array)]);
    assert!(read.iter().all(|item| item.source.headers.as_deref() == Some("kwq-fmt=batch")));
    let raw = &items(Some(b"\xff"), &[text("kwq-fmt", "raw")])[0].source;
    assert_eq!((raw.line, raw.offset, raw.text.as_slice()), (None, 17, b"\xff".as_slice()));
    // A header that is no text is shown escaped.
    let dead = dead(Some(value), &batch).task;
    assert_eq!(dead.meta.as_deref(), Some("kwq-fmt=batch\nkwq-tags=\\xff\\n"));
    assert_eq!(dead.payload.bytes, value);
    let long = "x".repeat(limits::META_BYTES_MAX);
    let many = [text("other", &long), text("kwq-id", ""), text("more", "y")];
    let kept = super::shown(&many);
    assert_eq!(kept.as_deref(), Some("kwq-id=\nmore=y"), "as many as fit");
}

#[test]
fn a_tombstone_is_a_dead_letter_without_payload() {
    for headers in [&[][..], &[text("kwq-fmt", "raw")], &[text("kwq-fmt", "batch")]] {
        let dead = dead(None, headers);
        assert!(dead.message.contains("no value (a tombstone)"), "{}", dead.message);
        assert_eq!(dead.task.payload, Blob::default());
    }
}

#[test]
fn a_dead_letter_keeps_what_can_be_read() {
    let value = r#"{"id":"t1","job":"var","tag":"k:v","payload":1,"maxAttempts":0}"#;
    let own = dead(Some(value.as_bytes()), &[]).task;
    assert_eq!((own.id, own.job, own.tag), (name("t1"), name("var"), name("k:v")));
    assert_eq!(own.payload.bytes, value.as_bytes());
    let headers = [text("kwq-job", "other"), ("kwq-id", Some(b"\xff".as_slice()))];
    let given = dead(Some(value.as_bytes()), &headers).task;
    assert_eq!((given.id, given.job), (name("t1"), name("other")));
    let unreadable = dead(Some(br#"{"id":"5-0-1","groupId":"\u0001"}"#), &[]).task;
    assert_eq!((unreadable.id, unreadable.job), (None, None));
    let broken = dead(Some(br#"{"id":"t1","#), &[text("kwq-id", "t2")]).task;
    assert_eq!(broken.id, name("t2"));
}

#[test]
fn a_task_was_submitted_when_its_record_was_written_and_never_later_than_now() {
    let level = Priority::DEFAULT;
    let value = Some(br#"{"delayMs":500}"#.as_slice());
    for (at, submitted) in [(0, NOW.0), (999_000, 999_000), (1_000_001, NOW.0)] {
        let record = InboxRecord { level, offset: 0, at: WallMs(at), value, headers: &[] };
        let decoded = decode(&record, &bounds());
        assert_eq!(decoded.submitted, WallMs(submitted));
        let Ok([Ok(Item::Task(task))]) = <[_; 1]>::try_from(outcomes(decoded.items)) else {
            panic!("one task is expected");
        };
        assert_eq!(task.delay, Delay::Until(WallMs(submitted + 500)));
    }
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&'static [u8]> = std::vec![
        b"{",
        b"}",
        b"\n",
        b"\xff",
        b"[[",
        b"\"\\ud800\"",
        b"{\"payload\":[1,{}],\"job\":\"j\"}",
        b"{\"id\":\"5-0-1\"}",
        b"{\"tags\":{\"a:b\":[\"x,y\"]}}",
        b"{\"array\":{\"to\":18446744073709551615}}",
        b"{\"delayMs\":9,\"notBefore_ts\":9e9}",
    ];
    let pieces = vec(proptest::sample::select(pieces), 0..8).prop_map(|pieces| pieces.concat());
    prop_oneof![vec(any::<u8>(), 0..64), pieces]
}

fn header() -> impl Strategy<Value = (&'static str, Option<Vec<u8>>)> {
    let names = HEADERS.iter().map(|(header, _)| *header).chain([FORMAT, FORMAT, "other"]);
    let names = proptest::sample::select(names.collect::<Vec<_>>());
    let known = proptest::sample::select(std::vec!["raw", "batch", "", "a,b:c", "5-0-1", "\u{1}"]);
    let known = known.prop_map(|text| text.as_bytes().to_vec());
    (names, option::of(prop_oneof![known, vec(any::<u8>(), 0..8)]))
}

proptest! {
    #[test]
    fn no_bytes_panic_and_every_record_has_an_outcome(
        value in option::of(value()),
        headers in vec(header(), 0..6),
        at in any::<u64>(),
    ) {
        let headers: Vec<_> = headers.iter().map(|(name, v)| (*name, v.as_deref())).collect();
        let value = value.as_deref();
        let level = Priority::DEFAULT;
        let record = InboxRecord { level, offset: 1, at: WallMs(at), value, headers: &headers };
        let decoded = decode(&record, &bounds());
        prop_assert!(!decoded.items.is_empty() && decoded.submitted <= NOW);
        for outcome in &outcomes(decoded.items) {
            let task = match outcome {
                Ok(item) => item.task(),
                Err(dead) => {
                    prop_assert!(dead.message.len() <= limits::MESSAGE_BYTES_MAX);
                    &dead.task
                }
            };
            prop_assert_eq!(task.priority, Some(level));
            let tags = task.tag.as_deref().map(TagSet::parse);
            prop_assert!(!matches!(tags, Some(Err(_))), "kept tags parse: {:?}", task.tag);
            prop_assert!(!task.id.as_deref().is_some_and(TaskRef::looks_like));
        }
    }
}
