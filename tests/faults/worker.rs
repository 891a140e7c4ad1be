//! Workers: most are honest, some die, hang, double, come late or lie. In the mode `HEAL` all are
//! honest, so that everything can end.

use crate::history::{Beat, Entry, HandOut, Report, Verb};
use crate::http::{Answer, Client, NoAnswer, Verdict, verdict};
use crate::load::{Doing, HEAL, STOP, World};
use crate::util::{Rng, now_us, pause_ms};
use serde_json::{Value, json};

/// One report to be sent.
#[derive(Clone)]
struct Todo {
    due: u64,
    token: String,
    verb: Verb,
    /// Only for `Fail`.
    retryable: bool,
    /// Sent a second time after it was accepted.
    twice: bool,
    /// Beat this lease until the report is due.
    beat: bool,
    tries: u32,
}

/// A worker.
struct Worker<'a> {
    world: &'a World,
    rng: Rng,
    name: String,
    client: Option<Client>,
    todo: Vec<Todo>,
    beat_at: u64,
}

/// Reports of one call at most.
const REPORTS_MAX: usize = 64;
/// A report whose outcome stays unknown is repeated this often.
const TRIES_MAX: u32 = 200;

/// A worker until the mode is `STOP`.
pub(crate) fn worker(world: &World, seed: u64, name: &str) {
    let rng = Rng::new(seed);
    let name = name.to_owned();
    let mut w = Worker { world, rng, name, client: None, todo: Vec::new(), beat_at: 0 };
    while world.mode() != STOP {
        if !world.connect(&mut w.client) {
            continue;
        }
        w.beat();
        w.turn();
    }
}

impl Worker<'_> {
    /// Sends what is due, alone or with the next consume, and takes what comes.
    fn turn(&mut self) {
        let now = now_us();
        let (mut due, rest): (Vec<Todo>, Vec<Todo>) =
            std::mem::take(&mut self.todo).into_iter().partition(|t| t.due <= now);
        self.todo = rest;
        if due.len() > REPORTS_MAX {
            self.todo.extend(due.split_off(REPORTS_MAX));
        }
        if self.rng.chance(20) && !due.is_empty() {
            self.report(&due);
            due.clear();
        }
        let max = if self.todo.len() > 200 { 1 } else { self.rng.range(1, 17) };
        let lease = self.rng.range(1_000, 2_001);
        let wait = self.rng.range(0, 300);
        let done: Vec<Value> = due.iter().map(body).collect();
        let ask = json!({"worker": self.name, "max": max, "waitMs": wait, "leaseMs": lease,
            "done": done});
        let doing: &[Doing] =
            if due.is_empty() { &[Doing::Consume] } else { &[Doing::Consume, Doing::Report] };
        let Some(http) = self.client.as_mut() else { return };
        let t0 = now_us();
        let result = self.world.flying(doing, || http.post("/kwq/consume", &ask));
        let t1 = now_us();
        self.world.judge("consume", &result);
        self.outcomes(&due, &result, "done", (t0, t1));
        if let Ok(answer) = &result
            && answer.status == 200
        {
            self.take(answer, (t0, t1), lease);
        }
        self.back_off(&result);
    }

    fn back_off(&self, result: &Result<Answer, NoAnswer>) {
        match result {
            Ok(a) if a.status >= 400 => pause_ms(20),
            Err(NoAnswer::NotSent) => pause_ms(5),
            Ok(_) | Err(NoAnswer::Lost) => {}
        }
    }

    /// Sends reports by their own routes.
    fn report(&mut self, due: &[Todo]) {
        for verb in [Verb::Complete, Verb::Fail, Verb::Release] {
            let of: Vec<Todo> = due.iter().filter(|t| t.verb == verb).cloned().collect();
            if of.is_empty() {
                continue;
            }
            let mut bodies: Vec<Value> = of.iter().map(body).collect();
            bodies.iter_mut().filter_map(Value::as_object_mut).for_each(|b| drop(b.remove("type")));
            let path = match verb {
                Verb::Complete => "/kwq/complete",
                Verb::Fail => "/kwq/fail",
                Verb::Release => "/kwq/release",
            };
            let Some(http) = self.client.as_mut() else { return };
            let t0 = now_us();
            let all = json!({ "items": bodies });
            let result = self.world.flying(&[Doing::Report], || http.post(path, &all));
            self.world.judge(path, &result);
            self.outcomes(&of, &result, "items", (t0, now_us()));
        }
    }

    /// Records the outcome of each report and repeats what is not settled.
    fn outcomes(
        &mut self,
        sent: &[Todo],
        result: &Result<Answer, NoAnswer>,
        member: &str,
        (t0, t1): (u64, u64),
    ) {
        let answer = match (verdict(result), result) {
            (Verdict::Ok, Ok(a)) => Some(a.json()),
            _ => None,
        };
        let refused = verdict(result) == Verdict::Refused;
        for (i, todo) in sent.iter().enumerate() {
            let word = answer.as_ref().and_then(|a| a[member][i]["outcome"].as_str());
            let word = if refused { Some("unavailable") } else { word };
            let outcome = word.map(str::to_owned);
            if outcome.is_none() && answer.is_some() {
                self.world.odd(format!("{member}: no outcome for item {i}"));
            }
            // Durable, but what comes of it is not known: asked again until it is.
            let word = word.filter(|word| *word != "accepted");
            let outcome = word.map(str::to_owned);
            if outcome.as_deref() == Some("invalid") {
                self.world.odd(format!("{member}: invalid: {answer:?}"));
            }
            let (verb, token) = (todo.verb, todo.token.clone());
            self.world.history.push(Entry::Report(Report { t0, t1, verb, token, outcome }));
            self.settle(todo, word);
        }
    }

    fn settle(&mut self, todo: &Todo, word: Option<&str>) {
        match word {
            None | Some("unavailable") if todo.tries < TRIES_MAX => {
                let due = now_us() + self.rng.range(0, 20_000);
                self.todo.push(Todo { due, tries: todo.tries + 1, beat: false, ..todo.clone() });
            }
            Some("ok" | "dead" | "retry") => {
                World::add(&self.world.operations, 1);
                let ends = todo.verb == Verb::Complete || word == Some("dead");
                World::add(&self.world.ended, usize::from(ends));
                if todo.twice {
                    self.todo.push(Todo { twice: false, due: now_us(), ..todo.clone() });
                }
            }
            _ => {}
        }
    }

    /// Takes the hand-outs of an answer.
    fn take(&mut self, answer: &Answer, (t0, t1): (u64, u64), asked: u64) {
        for h in hand_outs(answer, &self.name, (t0, t1)) {
            if h.lease_ms != asked {
                self.world.odd(format!("asked for a lease of {asked} ms: {h:?}"));
            }
            World::add(&self.world.operations, 1);
            self.plan(&h);
            self.world.history.push(Entry::HandOut(h));
        }
    }

    /// Decides what becomes of a hand-out.
    fn plan(&mut self, h: &HandOut) {
        let now = now_us();
        let mut todo = Todo {
            due: now,
            token: h.token.clone(),
            verb: Verb::Complete,
            retryable: false,
            twice: false,
            beat: false,
            tries: 0,
        };
        let dice = if self.world.mode() == HEAL { 99 } else { self.rng.range(0, 100) };
        match dice {
            0..=4 => return, // abandoned
            5..=9 => todo.due = now + h.lease_ms * 1_000 + self.rng.range(100_000, 900_000),
            10 => self.todo.push(Todo { token: forged(&h.token), ..todo }),
            11..=14 => (todo.verb, todo.retryable) = (Verb::Fail, true),
            15..=16 => todo.verb = Verb::Fail,
            17..=20 => todo.verb = Verb::Release,
            21..=24 => (todo.due, todo.beat) = (now + self.rng.range(500_000, 3_000_000), true),
            25..=29 => todo.twice = true,
            30..=60 => todo.due = now + self.rng.range(0, 30_000),
            _ => {}
        }
        self.todo.push(todo);
    }

    /// Renews the leases that are worked on for long, every 300 ms.
    fn beat(&mut self) {
        let now = now_us();
        if now < self.beat_at {
            return;
        }
        self.beat_at = now + 300_000;
        let tokens: Vec<String> =
            self.todo.iter().filter(|t| t.beat).map(|t| t.token.clone()).collect();
        if tokens.is_empty() {
            return;
        }
        let Some(http) = self.client.as_mut() else { return };
        let ask = json!({"worker": self.name, "leases": tokens});
        let result = http.post("/kwq/heartbeat", &ask);
        let t1 = now_us();
        self.world.judge("heartbeat", &result);
        let answer = match (verdict(&result), &result) {
            (Verdict::Ok, Ok(a)) => a.json(),
            _ => Value::Null,
        };
        let gone: Vec<&str> = (answer["lost"].as_array().into_iter().flatten())
            .filter_map(Value::as_str)
            .chain(
                (answer["cancel"].as_array().into_iter().flatten())
                    .filter_map(|c| c["lease"].as_str()),
            )
            .collect();
        // A frozen partition is in no list: only when the sum fits all others were renewed.
        let all = answer["renewed"].as_u64() == u64::try_from(tokens.len() - gone.len()).ok();
        for token in &tokens {
            let lost = gone.contains(&token.as_str());
            let renewed = if lost { Some(false) } else { all.then_some(true) };
            let beat = Beat { t0: now, t1, token: token.clone(), renewed };
            self.world.history.push(Entry::Beat(beat));
        }
    }
}

/// The tasks of the answer of a consume that was sent and answered then.
pub(crate) fn hand_outs(answer: &Answer, worker: &str, (t0, t1): (u64, u64)) -> Vec<HandOut> {
    let body = answer.json();
    let hand_out = |t: &Value| {
        let text = |key: &str| t[key].as_str().unwrap_or("").to_owned();
        let number = |key: &str| t[key].as_u64().unwrap_or(0);
        HandOut {
            t0,
            t1,
            worker: worker.to_owned(),
            task: text("ref"),
            id: text("id"),
            job: text("groupId"),
            priority: u8::try_from(number("priority")).unwrap_or(0),
            payload: text("payload"),
            attempt: u32::try_from(number("attempt")).unwrap_or(0),
            token: text("lease"),
            lease_ms: number("leaseMs"),
            allocated: number("allocated_ts") * 1_000,
        }
    };
    body["tasks"].as_array().into_iter().flatten().map(hand_out).collect()
}

fn body(todo: &Todo) -> Value {
    let token = &todo.token;
    match todo.verb {
        Verb::Complete => json!({"type": "complete", "lease": token, "result": "done"}),
        Verb::Fail => json!({"type": "fail", "lease": token, "class": "test.fail",
            "message": "planned", "retryable": todo.retryable, "retryAfterMs": 50}),
        Verb::Release => json!({"type": "release", "lease": token}),
    }
}

/// A token that differs in one character of its middle: the last one may hold unused bits.
fn forged(token: &str) -> String {
    let middle = token.chars().count() / 2;
    let other = |c: char| if c == 'A' { 'B' } else { 'A' };
    token.chars().enumerate().map(|(i, c)| if i == middle { other(c) } else { c }).collect()
}
