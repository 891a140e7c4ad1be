//! F5: fdatasync fails with EIO. What was in that group is not acknowledged, what was acknowledged
//! before survives, also when the power fails afterwards.

use crate::cut::Cut;
use crate::f02_power::{Cycle, require_strace, serve_traced};
use crate::run::Run;
use crate::util::{alone, pause_ms, say, scaled, wait_until};
use std::sync::atomic::Ordering;

/// Rounds at scale 1.
const ROUNDS: usize = 4;
/// Work must go on within this time, ms: syncs that fail often make the wait before the log is
/// opened again longer, up to 10 s.
const PATIENCE_MS: u64 = 20_000;

#[test]
fn a_sync_that_fails_loses_nothing_acknowledged() {
    let _alone = alone();
    require_strace();
    let mut run = Run::new("f05-eio");
    let mut failed = 0;
    for i in 0..scaled(ROUNDS) {
        let nth = run.rng.range(40, 150);
        let inject = format!("inject=fdatasync:error=EIO:when={nth}");
        let (mut cycle, start) = Cycle::begin(&run, &["-e".into(), inject]);
        let mut server = serve_traced(&run, &start);
        if i == 0 {
            run.load();
        }
        pause_ms(2_500);
        let done = || run.world.operations.load(Ordering::SeqCst);
        let before = done();
        pause_ms(1_500);
        let goes_on = wait_until(PATIENCE_MS, || done() > before);
        let ended = server.try_wait();
        run.kill(server, "kill -9 after EIO");
        let hit = count(&cycle.trace_text(), b"(INJECTED)");
        assert!(ended.is_none(), "one failed sync does not end the process: {ended:?}");
        assert!(goes_on, "a new segment takes over and work goes on (P18)");
        failed += hit;
        say(&format!("f05-eio: fdatasync {nth} of each thread fails: {hit} injected"));
        if i % 2 == 0 {
            cycle.cut(&mut run, Cut::Strict);
        }
    }
    assert!(failed >= scaled(ROUNDS) / 2, "invalid: hardly a sync was made to fail");
    let server = run.serve();
    run.verdict(server);
}

fn count(text: &[u8], word: &[u8]) -> usize {
    text.windows(word.len()).filter(|w| *w == word).count()
}
