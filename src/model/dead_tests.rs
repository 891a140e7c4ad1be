//! Pieces of what does not fit one dead letter.

use super::*;
use proptest::prelude::*;

const PIECE: usize = limits::INBOX_PIECE_BYTES;

fn source(lines: bool, text: Vec<u8>) -> Source {
    Source { lines, ..Source::new(Priority::DEFAULT, 17, text) }
}

fn bury(source: Source) -> Vec<DeadInput> {
    source.bury("", &Reject::new(Code::BadJson, "no JSON"), TaskInput::default())
}

fn tasks(text: &[u8]) -> usize {
    text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count()
}

/// Lines of some lengths, some of them blank, the last one with or without an end.
fn batch() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![
        4 => 0usize..4,
        2 => 100usize..3_000,
        2 => 50_000usize..150_000,
        1 => PIECE - 2..PIECE + 2,
        1 => 2 * PIECE - 2..2 * PIECE + 3,
    ];
    let line = (length, prop_oneof![Just(1usize), 1usize..1_200]);
    let byte = prop_oneof![Just("x"), Just("é"), Just("\u{1f600}"), Just(" ")];
    (proptest::collection::vec(line, 1..12), byte, any::<bool>()).prop_map(|(lines, byte, end)| {
        let mut text = String::new();
        for (length, times) in lines {
            let times = if length < 3_000 { times } else { 1 };
            for _ in 0..times {
                text.push_str(&byte.repeat(length / byte.len()));
                text.push_str("xy".get(..length % byte.len().min(3)).unwrap_or_default());
                text.push('\n');
            }
        }
        if !end {
            text.pop();
        }
        text.into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn pieces_joined_are_the_record(
        mut text in batch(),
        lines in any::<bool>(),
        broken in proptest::option::of(any::<proptest::sample::Index>()),
    ) {
        if let Some(broken) = broken.filter(|_| !text.is_empty()) {
            let at = broken.index(text.len());
            text[at] = 0xff;
        }
        let utf8 = std::str::from_utf8(&text).is_ok();
        let letters = bury(source(lines, text.clone()));
        prop_assert_eq!(letters.len() == 1, text.len() <= PIECE);
        let mut from = 0;
        for (number, letter) in (1usize..).zip(&letters) {
            let bytes = &letter.task.payload.bytes;
            prop_assert!(bytes.len() <= PIECE && (!bytes.is_empty() || text.is_empty()));
            let to = from + bytes.len();
            prop_assert!(bytes == &text[from..to], "they are in their order");
            let of = letters.len();
            if of > 1 {
                let begin = format!(
                    "piece {number} of {of}, bytes {from} to {} of record 17 of level 5: bad_json",
                    to - 1
                );
                prop_assert!(letter.message.starts_with(&begin), "{}", letter.message);
                let texts = letter.task.payload.encoding == crate::model::task::Encoding::Text;
                prop_assert!(texts || !utf8, "pieces of a text are texts");
            }
            if of > 1 && lines {
                prop_assert!(tasks(bytes) <= limits::INBOX_BATCH_TASKS);
                // Where a line was cut it was too long for any piece.
                let begin = text[..to].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
                let end = text[to..].iter().position(|b| *b == b'\n');
                let end = end.map_or(text.len(), |at| to + at + 1);
                prop_assert!(begin == to || to == text.len() || end - begin > PIECE);
            }
            from = to;
        }
        prop_assert_eq!(from, text.len());
    }
}

#[test]
fn a_batch_is_cut_into_batches_and_only_a_line_that_is_too_long_is_cut() {
    let line = |length: usize| format!("{}\n", "x".repeat(length - 1));
    let long = 2 * PIECE + 10;
    let text = [line(PIECE / 2), line(PIECE / 2), line(10), line(long), line(20), line(30)];
    let letters = bury(source(true, text.concat().into_bytes()));
    let lengths: Vec<_> = letters.iter().map(|l| l.task.payload.bytes.len()).collect();
    assert_eq!(lengths, [PIECE, 10, PIECE, PIECE, 10, 50]);
    // Far more tasks than a batch may have.
    let letters = bury(source(true, "{}\n".repeat(100_000).into_bytes()));
    assert_eq!(letters.len(), 100);
    assert!(letters.iter().all(|letter| tasks(&letter.task.payload.bytes) == 1_000));
}

#[test]
fn what_fits_one_dead_letter_is_one_and_shows_its_headers() {
    let text = "{}\n".repeat(1_001).into_bytes();
    let headers = Some(Name::from("kwq-fmt=batch"));
    let own = Source { headers: headers.clone(), ..source(true, text.clone()) };
    let payload = Blob::opaque(b"only a part".to_vec());
    let task = TaskInput { id: Some("a".into()), payload, ..TaskInput::default() };
    let letters = own.bury(", header kwq-id", &Reject::new(Code::NotSupported, "no"), task);
    let [dead] = letters.as_slice() else { panic!("one is expected: {}", letters.len()) };
    assert_eq!(&*dead.message, "record 17 of level 5, header kwq-id: not_supported: no");
    assert_eq!((dead.class, &dead.task.meta), (DeadClass::NotSupported, &headers));
    assert_eq!((&dead.task.id, &dead.task.payload.bytes), (&Some("a".into()), &text));
}
