//! F1: kill -9 under load and during start-up, many cycles on one data directory.

use crate::run::Run;
use crate::server::Server;
use crate::util::{alone, pause_ms, say, scaled};

/// Cycles at scale 1.
const CYCLES: usize = 30;

#[test]
fn nothing_acknowledged_is_lost_or_doubled_when_the_process_is_killed_under_load() {
    let _alone = alone();
    let mut run = Run::new("f01-kill");
    let mut server = run.serve();
    run.load();
    pause_ms(1_000); // warm-up without a fault
    let (mut in_start, mut slowest_us) = (0, 0);
    for _ in 0..scaled(CYCLES) {
        let short = run.rng.chance(70);
        pause_ms(if short { run.rng.range(50, 500) } else { run.rng.range(1_000, 3_000) });
        run.count_in_flight();
        run.kill(server, "kill -9");
        while run.rng.chance(15) {
            // Killed again while it starts, replays or cuts a tail.
            let young = Server::spawn(&run.start);
            pause_ms(run.rng.range(5, 200));
            run.kill(young, "kill -9 in start-up");
            in_start += 1;
        }
        server = run.serve();
        slowest_us = slowest_us.max(server.age_us());
    }
    say(&format!(
        "f01-kill: {in_start} kills in start-up, slowest start {} ms",
        slowest_us / 1_000
    ));
    run.verdict(server);
}
