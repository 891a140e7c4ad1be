//! F2: power cut. The server runs under strace, which records every write with its data; after
//! SIGKILL the directory is put back to what the syncs cover (`disk.rs`, `cut.rs`). kill -9 alone
//! does not test durability, because the page cache survives it.

use crate::cut::{Cut, Taken, cut, differences};
use crate::disk::Disk;
use crate::run::Run;
use crate::server::{Server, Start};
use crate::trace;
use crate::util::{alone, pause_ms, say, scaled};
use std::path::Path;
use std::process::Command;

/// Cycles at scale 1.
const CYCLES: usize = 20;
/// Within this many cuts the unprotected server must have been caught.
const UNPROTECTED_CYCLES: usize = 5;

/// strace must be there: a power cut that is skipped proves nothing.
pub(crate) fn require_strace() {
    let there = Command::new("strace").arg("-V").output().is_ok_and(|o| o.status.success());
    assert!(there, "strace is missing: install it, this test is never skipped");
}

/// What one cut needs to know from the start of its cycle.
pub(crate) struct Cycle {
    disk: Disk,
    trace: std::path::PathBuf,
    tracker: std::path::PathBuf,
    /// Syncs that covered something, after the cut.
    pub(crate) syncs: usize,
}

impl Cycle {
    /// Takes the directory as durable and returns the start of a traced server.
    pub(crate) fn begin(run: &Run, more: &[String]) -> (Self, Start) {
        let (trace, tracker) = (run.side("trace"), run.side("tracker-before"));
        drop(std::fs::remove_dir_all(&tracker));
        copy_dir(&run.start.dir.join("tracker"), &tracker);
        let mut arguments = trace::arguments(&trace.to_string_lossy());
        arguments.extend_from_slice(more);
        let start = Start { strace: Some(arguments), ..run.start.clone() };
        (Self { disk: Disk::load(&run.start.dir), trace, tracker, syncs: 0 }, start)
    }

    /// Replays the trace, proves it and cuts; the server must be dead.
    pub(crate) fn cut(&mut self, run: &mut Run, how: Cut) -> Taken {
        let text = std::fs::read(&self.trace).expect("strace left its trace");
        self.disk.replay(&text);
        let wrong = differences(&self.disk, &run.start.dir);
        assert!(wrong.is_empty(), "the replay of the trace is wrong: {wrong:#?}");
        self.syncs = self.disk.syncs;
        run.nemesis(&format!("power cut, {how:?}"));
        let taken = cut(&self.disk, &run.start.dir, how, &mut run.rng);
        let live = run.start.dir.join("tracker");
        drop(std::fs::remove_dir_all(&live));
        if run.rng.chance(50) {
            copy_dir(&self.tracker, &live); // the tracker of the start of the cycle, or none
        }
        taken
    }

    /// Text of the trace.
    pub(crate) fn trace_text(&self) -> Vec<u8> {
        std::fs::read(&self.trace).unwrap_or_default()
    }
}

/// Copies a directory if it is there.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    if !from.is_dir() {
        return;
    }
    std::fs::create_dir_all(to).expect("a directory can be made");
    for entry in std::fs::read_dir(from).expect("a directory can be read") {
        let entry = entry.expect("an entry can be read");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a file can be copied");
        }
    }
}

/// Starts a traced server and tells the clients.
pub(crate) fn serve_traced(run: &Run, start: &Start) -> Server {
    match Server::start(start) {
        Ok(server) => {
            run.nemesis("start under strace");
            run.world.set_addr(server.addr());
            server
        }
        Err(why) => panic!("{}: {why}", run.name),
    }
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_when_the_power_fails_under_load() {
    let _alone = alone();
    require_strace();
    let mut run = Run::new("f02-power");
    let (mut syncs, mut bytes, mut names) = (0, 0, 0);
    for i in 0..scaled(CYCLES) {
        let (mut cycle, start) = Cycle::begin(&run, &[]);
        let server = serve_traced(&run, &start);
        if i == 0 {
            run.load();
        }
        pause_ms(run.rng.range(300, 1_500));
        run.count_in_flight();
        run.kill(server, "kill -9 for a power cut");
        let how = if i % 2 == 0 { Cut::Strict } else { Cut::Torn };
        let taken = cycle.cut(&mut run, how);
        syncs += cycle.syncs;
        bytes += taken.bytes;
        names += taken.names;
    }
    say(&format!("f02-power: {syncs} syncs, {bytes} un-synced bytes and {names} names taken away"));
    assert!(syncs >= scaled(CYCLES), "invalid: hardly a sync happened");
    let server = run.serve();
    run.verdict(server);
}

#[test]
fn a_server_that_does_not_sync_is_caught_by_the_power_cut() {
    let _alone = alone();
    require_strace();
    for i in 0..UNPROTECTED_CYCLES {
        let mut run = Run::new("f02-unprotected");
        run.start.sets.push("log.durability=os".into());
        let (mut cycle, start) = Cycle::begin(&run, &[]);
        let server = serve_traced(&run, &start);
        run.load();
        pause_ms(1_000);
        run.kill(server, "kill -9 for a power cut");
        let taken = cycle.cut(&mut run, Cut::Strict);
        let mut server = Server::spawn(&run.start);
        let ready = server.wait_ready(10_000);
        let server = ready.then_some(server); // one that refuses to start has lost everything
        run.world.set_addr(server.as_ref().and_then(Server::addr));
        run.stop_load();
        let lost = run.losses(server);
        say(&format!(
            "f02-unprotected: cut {}: restarts: {ready}, {} lost, {taken:?}",
            i + 1,
            lost.len()
        ));
        if !lost.is_empty() {
            return;
        }
    }
    panic!("log.durability=os lost nothing in {UNPROTECTED_CYCLES} cuts: the harness is blind");
}
