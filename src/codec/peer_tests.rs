//! Everything that travels survives the round trip; nothing that a peer may send does harm.

use super::*;
use crate::model::access::Scopes;
use crate::model::priority::Priority;
use crate::model::reference::TaskRef;
use crate::model::reject::Code;
use crate::model::reply::Reply;
use crate::model::samples::{self, Listed};
use crate::model::task::{Blob, TaskInput};
use crate::model::time::WallMs;
use crate::model::worker::{HeldTask, WorkerState, WorkerTally};
use proptest::prelude::*;
use std::fmt::Debug;

const PARTITION: PartitionId = PartitionId(1_023);

fn calls() -> Vec<Call> {
    let classes = [Class::Submit, Class::Query, Class::Consume, Class::Report];
    let decide = |(command, class): (Command, &Class)| Call::Decide {
        partition: PARTITION,
        class: *class,
        bytes: usize::MAX,
        command,
    };
    let commands = samples::commands().into_iter().zip(classes.iter().cycle()).map(decide);
    let ask = |question| Call::Ask { partition: PARTITION, question };
    let whose = [Whose::All, Whose::One("w".into()), Whose::Gone("w".into())].map(Call::Workers);
    let locks = [Lock::Take, Lock::Free(7)].map(Call::Lock);
    let questions = samples::questions().into_iter().map(ask);
    commands.chain(questions).chain(whose).chain(locks).collect()
}

fn returns() -> Vec<Return> {
    let position = Position(1 << 48);
    let offer = Offer { levels: 0b101, tasks: 12 };
    let decided = |reply| Return::Decided(Decided { reply, position }, offer);
    let replies = samples::replies().into_iter().map(decided);
    let answered = |answer| Return::Answered(answer, position);
    let answers = samples::answers().into_iter().map(answered);
    let workers = [vec![], workers()].map(Return::Workers);
    let others = [Return::Refused(samples::reject()), Return::Locked(7)];
    replies.chain(answers).chain(workers).chain(others).collect()
}

fn workers() -> Vec<WorkerView> {
    let reference = TaskRef {
        priority: Priority::DEFAULT,
        partition: PARTITION,
        offset: 1 << 33,
        index: Some(2),
    };
    let held = HeldTask { reference, job: "eod".into(), attempt: 1, allocated: WallMs(2) };
    let view = |state| WorkerView {
        worker: "w".into(),
        endpoint: Some("host:1".into()),
        state,
        slots: Some(8),
        version: Some("1".into()),
        leases: 3,
        tally: Some(WorkerTally { completed: 1, failed: 2, crashed: u64::MAX }),
        first_seen: WallMs(1),
        last_seen: WallMs(2),
        affinity: vec!["k".into()],
        held: vec![held.clone()],
        by: Some(Scopes::new(vec!["eod-".into()])),
    };
    WorkerState::ALL.map(view).to_vec()
}

/// There and back; no shorter and no longer message is accepted.
fn check<M: Message + PartialEq + Debug>(message: &M) {
    let bytes = encode(message).unwrap();
    assert_eq!(decode::<M>(&bytes).unwrap(), *message);
    for cut in 0..bytes.len() {
        assert!(decode::<M>(&bytes[..cut]).is_err(), "{message:?} cut at {cut}");
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(decode::<M>(&longer).is_err(), "{message:?} with a byte more");
}

#[test]
fn every_command_and_question_travels_whole() {
    calls().iter().for_each(check);
}

#[test]
fn every_reply_answer_and_refusal_travels_whole() {
    returns().iter().for_each(check);
}

#[test]
fn only_its_own_answer_is_taken_for_a_question() {
    use crate::model::question::{Asked, Pending, PurgedId, PurgedJob};
    for answer in samples::answers() {
        let variant = answer.variant();
        let (pending, id) =
            (Pending::answer_of(answer.clone()), PurgedId::answer_of(answer.clone()));
        assert_eq!(pending.is_some(), variant == "Pending", "{variant}");
        assert_eq!(id.is_some(), variant == "PurgedId", "{variant}");
        let job = PurgedJob::answer_of(answer);
        assert_eq!(job.is_some(), variant == "PurgedJob", "{variant}");
    }
}

#[test]
fn every_code_travels_as_its_word() {
    for code in Code::ALL {
        check(&Return::Refused(Reject::new(*code, code.word())));
        let bytes = encode(&Return::Refused(Reject::new(*code, ""))).unwrap();
        let word = code.word().as_bytes();
        assert!(bytes.windows(word.len()).any(|w| w == word), "{code:?}");
    }
}

#[test]
fn an_unknown_code_is_internal_and_keeps_the_rest() {
    let mut bytes = encode(&Return::Refused(samples::reject())).unwrap();
    let word = Code::InvalidField.word().as_bytes();
    let at = bytes.windows(word.len()).position(|w| w == word).unwrap();
    bytes[at..at + word.len()].copy_from_slice(b"invented_now!".get(..word.len()).unwrap());
    let told = decode::<Return>(&bytes).unwrap();
    let expected = Reject { code: Code::Internal, ..samples::reject() };
    assert_eq!(told, Return::Refused(expected));
}

#[test]
fn another_version_is_refused_in_words() {
    let mut bytes = encode(&Return::Refused(samples::reject())).unwrap();
    bytes[0] = VERSION + 1;
    let refused = decode::<Return>(&bytes).unwrap_err();
    assert!(matches!(refused, Error::Version(3)), "{refused}");
    let words = refused.to_string();
    assert!(words.contains("version 3") && words.contains("this one 2"), "{words}");
    // Said even where nothing else is understood.
    assert!(matches!(decode::<Call>(&[VERSION + 1]), Err(Error::Version(3))));
}

#[test]
fn a_call_is_no_return() {
    for call in calls() {
        assert!(decode::<Return>(&encode(&call).unwrap()).is_err());
    }
    assert!(decode::<Call>(&[]).is_err());
}

#[test]
fn what_is_too_large_is_refused_before_it_is_looked_at() {
    let bytes = vec![VERSION; limits::PEER_BYTES_MAX + 1];
    assert!(matches!(decode::<Call>(&bytes), Err(Error::TooLarge(_))));
    let note = vec![0; limits::PEER_BYTES_MAX];
    let command = Command::Remember { part: part(), note };
    let call = Call::Decide { partition: PARTITION, class: Class::Report, bytes: 0, command };
    assert!(matches!(encode(&call), Err(Error::TooLarge(_))));
}

fn part() -> crate::model::key::KeyPart {
    let digest = crate::model::key::Digest([0; 32]);
    crate::model::key::KeyPart { key: digest, content: digest, part: 0 }
}

/// The largest of each kind that may occur, and values that claim the most for the fewest bytes.
#[test]
fn large_messages_pass() {
    let payload = Blob { bytes: vec![7; limits::PAYLOAD_BYTES_MAX], ..Blob::default() };
    let task = TaskInput { payload, ..TaskInput::default() };
    let small = vec![TaskInput::default(); limits::BATCH_ITEMS];
    let sequence = |n: u64| crate::model::id::TaskSeq(n);
    for command in [
        Command::submit(vec![task; 16]),
        Command::submit(small),
        // A number of eight bytes claims eight and takes one.
        Command::Undeliver(vec![crate::model::id::LeaseNo(1); 1_000_000]),
    ] {
        let call = Call::Decide { partition: PARTITION, class: Class::Submit, bytes: 0, command };
        assert_eq!(decode::<Call>(&encode(&call).unwrap()).unwrap(), call);
    }
    let tasks: Vec<_> = (0..8_000_000).map(|n| sequence((1 << 30) + n)).collect();
    assert_eq!(tasks.len(), limits::OPERATION_TASKS_MAX);
    let question = crate::model::question::DeadAmong { tasks }.into();
    let call = Call::Ask { partition: PARTITION, question };
    assert_eq!(decode::<Call>(&encode(&call).unwrap()).unwrap(), call);
}

/// A length that the message cannot have is not believed.
#[test]
fn a_lie_about_a_length_is_refused() {
    let reply = Reply::Noted(Vec::new(), true);
    let decided = Decided { reply, position: Position(0) };
    let told = Return::Decided(decided, Offer::default());
    let bytes = encode(&told).unwrap();
    // Version, kind, Decided, Noted, length, flag, position, levels, tasks.
    assert_eq!(bytes, [VERSION, 2, 0, 2, 0, 1, 0, 0, 0]);
    let lies = [&[253u8, 255, 255, 255, 255, 255, 255, 255, 127][..], &[252, 255, 255, 255, 255]];
    for lie in lies {
        let mut bad = bytes[..4].to_vec();
        bad.extend_from_slice(lie);
        bad.extend_from_slice(&[1, 0, 0, 0]);
        assert!(decode::<Return>(&bad).is_err());
        // The same for a text: a refusal's code.
        let mut bad = vec![VERSION, 2, 2];
        bad.extend_from_slice(lie);
        assert!(decode::<Return>(&bad).is_err());
    }
}

/// The format is pinned: when this fails, raise `VERSION`, unless samples or last variants were
/// added; then write down the new sum.
#[test]
fn the_format_of_this_version_is_golden() {
    let mut sum = 0;
    for call in calls() {
        sum = crc32c::crc32c_append(sum, &encode(&call).unwrap());
    }
    for told in returns() {
        sum = crc32c::crc32c_append(sum, &encode(&told).unwrap());
    }
    assert_eq!((VERSION, sum), (2, GOLDEN), "{sum:#x}");
}

const GOLDEN: u32 = 0x995e_7121;

proptest! {
    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(decode::<Call>(&bytes));
        drop(decode::<Return>(&bytes));
        for kind in [Call::KIND, Return::KIND] {
            let mut bytes = bytes.clone();
            bytes.splice(..0, [VERSION, kind]);
            drop(decode::<Call>(&bytes));
            drop(decode::<Return>(&bytes));
        }
    }

    #[test]
    fn any_changed_bytes_never_panic(
        which in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let (calls, returns) = (calls(), returns());
        let mut call = encode(&calls[which.index(calls.len())]).unwrap();
        let mut told = encode(&returns[which.index(returns.len())]).unwrap();
        for (at, byte) in changes {
            let place = at.index(call.len());
            call[place] = byte;
            let place = at.index(told.len());
            told[place] = byte;
        }
        // What is still a message is one that goes there and back.
        if let Ok(call) = decode::<Call>(&call) {
            prop_assert_eq!(decode::<Call>(&encode(&call).unwrap()).unwrap(), call);
        }
        if let Ok(told) = decode::<Return>(&told) {
            prop_assert_eq!(decode::<Return>(&encode(&told).unwrap()).unwrap(), told);
        }
    }
}
