//! How far inboxes were taken comes back from an image and from the log alone.

use super::*;
use crate::log::memory::MemoryLog;
use crate::model::command::{Command, InboxBatch};
use crate::model::priority::Priority;
use crate::model::time::{Now, Tick};

const HERE: PartitionId = PartitionId(0);
/// The kind of images that know no inboxes.
const BEFORE_INBOXES: u32 = 0x6b77_7136;

/// A partition that takes an inbox, and its log.
struct Rig {
    log: MemoryLog,
    partition: Partition,
}

impl Rig {
    fn new() -> Self {
        let owner = Event::Owner { node: "n".into(), addr: "".into(), token_key: [1, 2] };
        let mut partition = Partition::new(HERE, Policy::default(), 7);
        let log = MemoryLog::new();
        let stamped = Stamped { at: WallMs(1_000), event: owner };
        let batch = Batch { epoch: Epoch(0), events: vec![stamped.clone()].into() };
        let appended = log.append(HERE, batch).unwrap().wait().unwrap();
        partition.replay(appended.positions[0], &stamped);
        Self { log, partition }
    }

    fn take(&mut self, from: u64, next: u64) {
        let level = Priority::DEFAULT;
        let batch = InboxBatch { level, from, next, items: Vec::new(), goes_on: false };
        let (mut events, now) = (Vec::new(), Now { wall: WallMs(1_000), tick: Tick(0) });
        self.partition.decide(Command::TakeInbox(Box::new(batch)), now, &mut events);
        let batch = Batch { epoch: self.partition.epoch(), events: events.into() };
        self.log.append(HERE, batch).unwrap().wait().unwrap();
    }

    fn image(&self, kind: u32) {
        let bytes = crate::codec::image::encode(kind, &self.partition.image()).unwrap();
        self.log.commit_mark(HERE, self.log.end(HERE), &bytes).unwrap();
    }

    #[track_caller]
    fn comes_back(&self) {
        let again = rebuild(&self.log, &[HERE], Policy::default(), false).unwrap().remove(0);
        assert_eq!(again.inbox(), self.partition.inbox());
        assert_eq!(again.state_hash(), self.partition.state_hash());
    }
}

#[test]
fn an_image_keeps_how_far_inboxes_were_taken() {
    let mut rig = Rig::new();
    rig.take(3, 40);
    rig.image(IMAGE_KIND);
    let (restored, _) = newest_image(&rig.log, HERE, Policy::default());
    assert_eq!(restored.inbox()[Priority::DEFAULT.index()], 40, "the image alone says so");
    rig.take(40, 1 << 40);
    rig.comes_back();
}

#[test]
fn an_image_without_inboxes_is_passed_over() {
    let mut rig = Rig::new();
    rig.take(0, 40);
    rig.image(BEFORE_INBOXES);
    rig.comes_back();
    rig.image(IMAGE_KIND);
    rig.take(40, 50);
    rig.image(BEFORE_INBOXES);
    rig.comes_back();
    let (restored, _) = newest_image(&rig.log, HERE, Policy::default());
    assert_eq!(restored.inbox()[Priority::DEFAULT.index()], 40, "the older one serves");
}
