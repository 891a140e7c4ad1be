//! A tracker that cannot follow: what was left out comes from the log, and answers say their age.

use super::*;
use crate::actor::handle::{KwqHandle, idle_engine};
use crate::log::memory::MemoryLog;
use crate::log::{Appended, Batch};
use crate::model::event::{Event, Stamped};
use crate::model::id::Epoch;
use crate::model::policy::Backoff;
use crate::model::task::{Blob, Encoding, TaskSpec};
use crate::store::Tracker;
use crate::store::memory::MemoryStore;

const HERE: PartitionId = PartitionId(0);

struct Rig {
    log: Arc<MemoryLog>,
    handle: KwqHandle,
    turns: Turns,
    tasks: u64,
}

impl Rig {
    fn new() -> Self {
        let (log, handle) = (Arc::new(MemoryLog::new()), idle_engine());
        let engine = Arc::clone(&handle.engine);
        engine.set_log(Some(Arc::clone(&log) as Arc<dyn EventLog>));
        let partitions = u16::try_from(engine.slots.len()).unwrap();
        let store = Box::new(MemoryStore::default());
        let tracker = Tracker::open(store, partitions, 10, WallMs(1)).unwrap();
        let inbox = engine.tracker.open().unwrap();
        let state = TrackerState::new(tracker);
        let turns = Turns { state, engine, inbox, waiting: Vec::new(), not_before: Tick(0) };
        let mut rig = Self { log, handle, turns, tasks: 0 };
        let owner =
            Event::Owner { node: Name::from("here"), addr: Name::from(""), token_key: [1; 2] };
        let owned = rig.append(owner).0.positions[0];
        rig.turns.engine.tracker.reached(HERE, owned);
        rig.turn(Woken::Nothing, 0);
        rig
    }

    fn append(&self, event: Event) -> (Appended, Arc<[Stamped]>) {
        let events: Arc<[Stamped]> = [Stamped { at: WallMs(1_000), event }].into();
        let batch = Batch { epoch: Epoch(1), events: Arc::clone(&events) };
        (self.log.append(HERE, batch).unwrap().wait().unwrap(), events)
    }

    /// Appends a batch of one task and hands it over.
    fn submit(&mut self) {
        let event = Event::Submitted { first: TaskSeq(self.tasks), tasks: vec![task()] };
        self.tasks += 1;
        let (appended, events) = self.append(event);
        self.turns.engine.tracker.committed(HERE, appended.positions, events);
    }

    /// As if the channel had been full.
    fn lose(&mut self) {
        let batch = self.turns.inbox.batches.try_recv().unwrap();
        self.turns.engine.tracker.taken(&batch);
    }

    fn turn(&mut self, woken: Woken, ms: u64) {
        self.turns.turn(woken, Now { wall: WallMs(1_000 + ms), tick: Tick(ms) });
    }

    fn batch(&mut self) -> Woken {
        Woken::Batch(self.turns.inbox.batches.try_recv().unwrap())
    }

    /// Asks for the number of rows; the answer comes with a later turn.
    async fn ask(
        &mut self,
        patience: Patience,
    ) -> std::pin::Pin<Box<dyn Future<Output = Answer<Seen<u64>>>>> {
        let door = self.handle.engine.tracker.clone();
        let count = |state: &mut TrackerState, _| count(&mut state.tracker);
        let mut answer = Box::pin(async move { door.ask(patience, count).await });
        // Once, so that the question is in the channel.
        std::future::poll_fn(|cx| {
            assert!(answer.as_mut().poll(cx).is_pending(), "nobody has answered yet");
            std::task::Poll::Ready(())
        })
        .await;
        answer
    }
}

fn count(tracker: &mut Tracker) -> u64 {
    (0..9).take_while(|seq| tracker.task(HERE, TaskSeq(*seq)).is_some()).count() as u64
}

fn task() -> TaskSpec {
    TaskSpec {
        id: None,
        job: Name::from("job"),
        priority: Priority::DEFAULT,
        tag: None,
        payload: Blob { encoding: Encoding::Text, bytes: b"four".to_vec() },
        affinity: Vec::new(),
        source: None,
        meta: None,
        timeout_s: 0,
        lease_ms: 0,
        max_attempts: 3,
        max_crashes: 3,
        backoff: Backoff { base_ms: 1, cap_ms: 2, jitter: Default::default() },
        not_before: WallMs(0),
        traceparent: None,
        content: None,
        element: None,
    }
}

#[actix::test]
async fn a_question_waits_for_what_was_durable_before_it() {
    let mut rig = Rig::new();
    rig.submit();
    let answer = rig.ask(Patience::Usual).await;
    rig.turn(Woken::Nothing, 0);
    let seen = answer.await.unwrap();
    assert_eq!((seen.value, seen.behind), (1, None));
}

#[actix::test]
async fn what_the_channel_left_out_is_read_from_the_log() {
    for lost in 0..3 {
        let mut rig = Rig::new();
        for number in 0..3 {
            rig.submit();
            match number == lost {
                true => rig.lose(),
                false => {
                    let batch = rig.batch();
                    rig.turn(batch, 0);
                }
            }
        }
        // The last batch has none behind it that would tell: silence does.
        rig.turn(Woken::Nothing, 6);
        let tracker = &mut rig.turns.state.tracker;
        assert_eq!(count(tracker), 3, "lost {lost}");
        let sizes = (0..3).map(|seq| tracker.task(HERE, TaskSeq(seq)).unwrap().payload_bytes);
        assert_eq!(sizes.collect::<Vec<_>>(), [4; 3], "the log is read without payloads");
        assert_eq!(rig.handle.engine.tracker.lag(), 0);
        assert!(!rig.turns.state.gap);
    }
}

#[actix::test]
async fn who_has_waited_long_enough_is_told_how_old_the_answer_is() {
    let mut rig = Rig::new();
    rig.submit();
    let batch = rig.batch();
    rig.turn(batch, 0);
    rig.submit();
    rig.lose();
    rig.turns.not_before = Tick(60_000);
    let (usual, fresh) = (rig.ask(Patience::Usual).await, rig.ask(Patience::Fresh).await);
    let now = rig.ask(Patience::None).await;
    rig.turn(Woken::Nothing, 0);
    assert_eq!(now.await.unwrap().value, 1, "rates wait for nothing");
    rig.turn(Woken::Nothing, 300);
    let seen = usual.await.unwrap();
    assert_eq!(seen.value, 1);
    let behind = seen.behind.unwrap();
    assert_eq!((behind.lag_ms, behind.cursors[0]), (300, Position(3)));
    assert_eq!(rig.handle.engine.tracker.lag(), 1);
    rig.turn(Woken::Nothing, 5_000);
    assert_eq!(fresh.await.unwrap_err().code, Code::TrackerBehind);
    rig.turn(Woken::Nothing, 60_000);
    assert_eq!(count(&mut rig.turns.state.tracker), 2);
}

#[actix::test]
async fn a_rebuilt_partition_may_have_appended_what_it_never_handed_over() {
    let mut rig = Rig::new();
    let event = Event::Submitted { first: TaskSeq(0), tasks: vec![task()] };
    let (appended, _) = rig.append(event);
    rig.turns.engine.tracker.reached(HERE, appended.positions[0]);
    let answer = rig.ask(Patience::Fresh).await;
    rig.turn(Woken::Nothing, 6);
    assert_eq!(answer.await.unwrap().value, 1);
}
