//! Two instances on one topic, in any order of what may happen: no two believe that a place is
//! theirs, and both come to hold what a fresh reader finds.

use super::*;
use proptest::prelude::*;

/// What happens next, and to which of the two.
#[derive(Clone, Copy, Debug)]
enum Step {
    Take,
    Append,
    /// The oldest batch sent comes into the topic and is reported.
    Land,
    /// It does not, and nobody knows.
    Lose,
    /// It does, and nobody knows.
    Mute,
    /// Nobody knows, and it comes into the topic later, or never.
    Delay,
    /// A delayed batch comes into the topic.
    Haunt,
    /// The oldest report arrives.
    Report,
    /// The reader brings its next record.
    Read,
    /// The reader brings records it has brought before.
    Back(u64),
    /// The reader carries out one of the orders it was given by several threads.
    Obey,
    /// Somebody else writes what kwq does not.
    Junk,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Take),
        6 => Just(Step::Append),
        8 => Just(Step::Land),
        1 => Just(Step::Lose),
        1 => Just(Step::Mute),
        2 => Just(Step::Delay),
        2 => Just(Step::Haunt),
        8 => Just(Step::Report),
        12 => Just(Step::Read),
        1 => (1..4_u64).prop_map(Step::Back),
        6 => Just(Step::Obey),
        1 => Just(Step::Junk),
    ]
}

/// What a ticket is of.
struct Told {
    ticket: Ticket,
    bytes: Vec<u8>,
    owner: bool,
    /// Its offset once it has succeeded.
    at: Option<u64>,
    ended: bool,
}

struct Instance {
    rig: Rig,
    /// Sent, with their lives, not in the topic.
    flying: VecDeque<(u64, Vec<u8>)>,
    /// Believed lost.
    ghosts: VecDeque<Vec<u8>>,
    reports: VecDeque<(u64, Option<u64>)>,
    orders: VecDeque<Order>,
    /// The offset the reader brings next.
    next: Option<u64>,
    /// Of the newest `Owner` record that was told to be its own.
    owner: u64,
    told: Vec<Told>,
}

impl Instance {
    fn new() -> Self {
        Self {
            rig: Rig::new(),
            flying: VecDeque::new(),
            ghosts: VecDeque::new(),
            reports: VecDeque::new(),
            orders: VecDeque::new(),
            next: Some(0),
            owner: 0,
            told: Vec::new(),
        }
    }

    fn sent(&mut self, ticket: Ticket, bytes: Vec<u8>, owner: bool) {
        self.flying.push_back((self.rig.life.get(), bytes.clone()));
        self.told.push(Told { ticket, bytes, owner, at: None, ended: false });
    }

    fn run(&mut self, step: Step, seq: u64, topic: &mut Vec<Vec<u8>>) {
        match step {
            Step::Take => self.take(seq),
            Step::Append => {
                let bytes = batch(self.owner, seq);
                if let Ok(ticket) = self.rig.try_append(epoch(self.owner), bytes) {
                    self.sent(ticket, self.rig.sent.take(), false);
                }
            }
            Step::Land | Step::Lose | Step::Mute | Step::Delay => self.end_of_flight(step, topic),
            Step::Haunt => topic.extend(self.ghosts.pop_front()),
            Step::Report => {
                if let Some((life, offset)) = self.reports.pop_front() {
                    self.orders.extend(self.rig.partition.report(life, offset).unwrap());
                }
            }
            Step::Read => self.read(topic),
            Step::Back(by) => self.next = self.next.map(|next| next.saturating_sub(by)),
            Step::Obey => {
                // Orders of two threads: any of them may be the next to be seen.
                let order = if seq.is_multiple_of(2) {
                    self.orders.pop_front()
                } else {
                    self.orders.pop_back()
                };
                if order.is_some() {
                    match self.rig.partition.order() {
                        Order::Read(_, from) => self.next = Some(from),
                        Order::Stop(_) => self.next = None,
                    }
                }
            }
            Step::Junk => topic.push(b"junk".to_vec()),
        }
        self.look(topic);
    }

    fn take(&mut self, seq: u64) {
        let bytes = owner_batch(&seq.to_string());
        let (ticket, resolver) = Ticket::pair();
        let sent = Sent::new(resolver, bytes.clone(), 1, None);
        let life = &self.rig.life;
        let (order, begun) = self.rig.partition.take(sent, |_, now| {
            life.set(now);
            Ok(())
        });
        begun.unwrap();
        self.orders.extend(order);
        self.sent(ticket, bytes, true);
    }

    fn end_of_flight(&mut self, step: Step, topic: &mut Vec<Vec<u8>>) {
        let Some((life, bytes)) = self.flying.pop_front() else { return };
        let known = matches!(step, Step::Land).then_some(topic.len() as u64);
        if matches!(step, Step::Land | Step::Mute) {
            topic.push(bytes);
        } else if matches!(step, Step::Delay) {
            self.ghosts.push_back(bytes);
        }
        self.reports.push_back((life, known));
    }

    fn read(&mut self, topic: &[Vec<u8>]) {
        let Some(next) = self.next else { return };
        let Some(bytes) = usize::try_from(next).ok().and_then(|at| topic.get(at)) else { return };
        self.next = Some(next + 1);
        self.orders.extend(self.rig.read(next, bytes));
    }

    /// Looks at the tickets: a success is in the topic at that moment, and in order.
    fn look(&mut self, topic: &[Vec<u8>]) {
        for told in self.told.iter_mut().filter(|told| !told.ended) {
            match outcome(&mut told.ticket) {
                None => continue,
                Some(Err(error)) => assert!(matches!(error, Error::Fenced(_)), "{error}"),
                Some(Ok(appended)) => {
                    let (at, number) = place::offset(appended.positions[0]);
                    let found = usize::try_from(at).ok().and_then(|at| topic.get(at));
                    assert_eq!((number, found), (0, Some(&told.bytes)));
                    told.at = Some(at);
                    if told.owner {
                        self.owner = at;
                    }
                }
            }
            told.ended = true;
        }
        let at: Vec<u64> = self.told.iter().filter_map(|told| told.at).collect();
        assert!(at.is_sorted_by(|a, b| a < b), "in order: {at:?}");
    }

    /// All that is on its way arrives, and the reader comes to the end.
    fn settle(&mut self, topic: &mut Vec<Vec<u8>>) {
        loop {
            let step = match () {
                () if !self.flying.is_empty() => Step::Land,
                () if !self.reports.is_empty() => Step::Report,
                () if !self.orders.is_empty() => Step::Obey,
                () if self.next.is_some_and(|next| next < topic.len() as u64) => Step::Read,
                () => break,
            };
            self.run(step, 0, topic);
        }
        assert!(self.told.iter().all(|told| told.ended), "a ticket was forgotten");
    }

    fn stand_down(&mut self) {
        let sent = Sent::new(Ticket::pair().1, Vec::new(), 1, None);
        let unsent = |_: &[u8], _| Err(Error::Failed("not sent".to_owned()));
        self.orders.extend(self.rig.partition.take(sent, unsent).0);
    }
}

/// What counts for a fresh reader.
fn fold(topic: &[Vec<u8>]) -> Vec<(u64, Vec<u8>)> {
    let (mut owner, mut next, mut counts) = (None, 0, Vec::new());
    for (offset, bytes) in (0..).zip(topic) {
        let Ok(value) = Value::read(bytes) else { continue };
        if value.is_owner() {
            (owner, next) = (Some(offset), 0);
        }
        let of_latest = owner.is_some_and(|owner| value.epoch() == epoch(owner));
        if value.is_owner() || (of_latest && value.number() == next) {
            next += 1;
            counts.push((offset, bytes.clone()));
        }
    }
    counts
}

fn check(steps: &[(bool, Step)]) {
    let (mut both, mut topic) = ([Instance::new(), Instance::new()], Vec::new());
    for (seq, (which, step)) in (1..).zip(steps) {
        both[usize::from(*which)].run(*step, seq, &mut topic);
    }
    both.iter_mut().for_each(|instance| instance.settle(&mut topic));
    both.iter_mut().for_each(Instance::stand_down);
    both.iter_mut().for_each(|instance| instance.settle(&mut topic));
    let counts = fold(&topic);
    for instance in &both {
        for told in &instance.told {
            let Some(at) = told.at else { continue };
            let found = counts.iter().find(|(offset, _)| *offset == at);
            assert_eq!(found.map(|(_, bytes)| bytes), Some(&told.bytes), "told, but void: {at}");
        }
        let mut kept = Vec::new();
        let mut visit = |offset, bytes: &[u8]| {
            kept.push((offset, bytes.to_vec()));
            true
        };
        instance.rig.partition.spool.scan(0, &mut visit).unwrap();
        assert_eq!(kept, counts, "what is kept");
        assert_eq!(instance.rig.partition.read_to(), topic.len() as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_two_instances_tell_is_what_a_fresh_reader_finds(
        steps in prop::collection::vec((any::<bool>(), step()), 1..200),
    ) {
        check(&steps);
    }
}
