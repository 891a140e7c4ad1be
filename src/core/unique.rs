//! Ids that are unique in their job (`dedup: task`): hash of (job, id) → hash of the content, task.
//!
//! The core decides by 128-bit hashes alone, so it needs no I/O and replay decides the same.
//! Memory: 48 B an entry and 24 B a slot of the map, about 80 B a task; nothing in other jobs.

use crate::core::map::{self, Map};
use crate::core::sip::Sip128;
use crate::model::array::{ArrayInput, Span};
use crate::model::id::{PartitionId, TaskSeq};
use crate::model::key::Hash128;
use crate::model::priority::Priority;
use crate::model::tags::TagSet;
use crate::model::task::{Encoding, TaskInput};
use serde::{Deserialize, Serialize};

/// Fixed for ever: equal ids must be found again after every start, in every partition. It is no
/// secret; who could make ids collide may submit into the job anyway.
const KEY: [u64; 2] = [0x6b77_712d_756e_6971, 0x7565_2d69_6473_3031];

/// Stands for the id of a purged task; no id that is looked for has this hash.
const PURGED: Hash128 = Hash128([0; 2]);

/// One task with a unique id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UniqueTask {
    /// Hash of job and id.
    pub id: Hash128,
    /// Hash of what was sent.
    pub content: Hash128,
    /// The task.
    pub seq: TaskSeq,
    /// Priority of its reference; a finished task has shed its class.
    pub priority: Priority,
}

const _: () = assert!(size_of::<UniqueTask>() <= 48);

/// The index.
#[derive(Clone, Debug)]
pub struct UniqueIndex {
    places: Map<Hash128, u32>,
    /// In order of admission; those of purged tasks are dropped many at a time.
    tasks: Vec<UniqueTask>,
    /// Entries of `tasks` that are purged.
    dropped: usize,
}

impl Default for UniqueIndex {
    fn default() -> Self {
        Self { places: map::new(), tasks: Vec::new(), dropped: 0 }
    }
}

impl UniqueIndex {
    /// The task of an id.
    #[must_use]
    pub fn get(&self, id: Hash128) -> Option<&UniqueTask> {
        self.tasks.get(*self.places.get(&id)? as usize)
    }

    /// Notes a task.
    ///
    /// # Panics
    /// Beyond 2^32 tasks.
    pub fn insert(&mut self, task: UniqueTask) {
        let place = u32::try_from(self.tasks.len()).expect("fewer than 2^32 unique ids");
        self.places.insert(task.id, place);
        self.tasks.push(task);
    }

    /// Forgets the id of a purged task, if it has one: it may be submitted anew.
    pub fn remove(&mut self, seq: TaskSeq) {
        let Ok(at) = self.tasks.binary_search_by_key(&seq, |task| task.seq) else { return };
        let id = std::mem::replace(&mut self.tasks[at].id, PURGED);
        if id == PURGED {
            return;
        }
        self.places.remove(&id);
        self.dropped += 1;
        if self.dropped > self.tasks.len() / 2 {
            *self = Self::restore(self.tasks().copied().collect());
        }
    }

    /// Forgets the ids of the purged tasks between two numbers, the last one excluded.
    pub fn remove_within(&mut self, first: TaskSeq, end: TaskSeq) {
        let from = self.tasks.partition_point(|task| task.seq < first);
        let those = self.tasks[from..].iter().take_while(|task| task.seq < end);
        let seqs: Vec<TaskSeq> = those.map(|task| task.seq).collect();
        seqs.into_iter().for_each(|seq| self.remove(seq));
    }

    /// Every task, in order of admission.
    pub fn tasks(&self) -> impl Iterator<Item = &UniqueTask> {
        self.tasks.iter().filter(|task| task.id != PURGED)
    }

    /// Rebuilds from [`Self::tasks`].
    #[must_use]
    pub fn restore(tasks: Vec<UniqueTask>) -> Self {
        let mut index = Self::default();
        tasks.into_iter().for_each(|task| index.insert(task));
        index
    }
}

/// Hash of a job and an id in it.
#[must_use]
pub fn id_hash(job: &str, id: &str) -> Hash128 {
    let mut sip = Sip128::new(KEY);
    sip.text(job.as_bytes());
    sip.text(id.as_bytes());
    sip.finish()
}

/// The partition that decides an id, of `partitions`.
#[must_use]
pub fn home(id: Hash128, partitions: u16) -> PartitionId {
    let place = id.0[0] % u64::from(partitions.max(1));
    PartitionId(u16::try_from(place).unwrap_or(0))
}

/// Hash of what makes two tasks of one id the same: payload, encoding, priority, tags, affinity as
/// written in the submit, in normal form, before defaults of the job.
#[must_use]
pub fn content_hash(input: &TaskInput) -> Hash128 {
    let mut sip = Sip128::new(KEY);
    add_content(&mut sip, input);
    sip.finish()
}

/// As [`content_hash`], of an array: its values too.
#[must_use]
pub fn array_hash(array: &ArrayInput) -> Hash128 {
    let mut sip = Sip128::new(KEY);
    let Span { from, step, count } = array.span;
    [from, step, count].iter().for_each(|word| sip.bytes(&word.to_le_bytes()));
    add_content(&mut sip, &array.task);
    sip.finish()
}

fn add_content(sip: &mut Sip128, input: &TaskInput) {
    sip.text(&input.payload.bytes);
    sip.byte(match input.payload.encoding {
        Encoding::Text => 0,
        Encoding::Json => 1,
        Encoding::Base64 => 2,
    });
    sip.byte(input.priority.map_or(0, Priority::get));
    let tags = input.tag.as_deref().and_then(|text| TagSet::parse(text).ok()).unwrap_or_default();
    let mut tags: Vec<&str> = tags.iter().collect();
    tags.sort_unstable();
    sip.bytes(&(tags.len() as u64).to_le_bytes());
    tags.iter().for_each(|tag| sip.text(tag.as_bytes()));
    let keys = input.affinity.as_deref();
    sip.byte(u8::from(keys.is_some()));
    let mut keys: Vec<(&str, u8)> =
        keys.unwrap_or_default().iter().map(|k| (&*k.key, k.weight)).collect();
    keys.sort_unstable();
    for (key, weight) in keys {
        sip.text(key.as_bytes());
        sip.byte(weight);
    }
}
