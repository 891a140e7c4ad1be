//! F4: the disk is full and has room again. Once softly (a ballast file on a sized tmpfs takes the
//! reserve away, which is seen early), once hard (strace makes every growth fail).

use crate::mount::Mount;
use crate::run::Run;
use crate::trace;
use crate::util::{alone, now_us, pause_ms, say, scaled, wait_until};
use std::sync::atomic::Ordering;

#[test]
fn a_full_disk_refuses_submits_with_507_while_completions_go_on_and_submits_resume() {
    let _alone = alone();
    let mut run = Run::new("f04-full");
    let Some(mount) = Mount::new(run.side("disk")) else {
        // The hard variant below needs no mount and is never skipped.
        return say("f04-full: SKIPPED, a tmpfs may not be mounted here");
    };
    run.start.dir = mount.0.join("data");
    run.start.sets.push("log.disk-reserve=24MiB".into());
    run.crowd.backlog = 20_000;
    let server = run.serve();
    run.load();
    let file = mount.0.join("ballast");
    let now = |n: &std::sync::atomic::AtomicUsize| n.load(Ordering::SeqCst);
    for _ in 0..scaled(2) {
        pause_ms(1_500);
        mount.fill(&file, 20 << 20);
        run.nemesis("disk full");
        let (full, ended) = (now(&run.world.full), now(&run.world.ended));
        let refused = wait_until(5_000, || now(&run.world.full) > full);
        assert!(refused, "submits are refused with 507 within 5 s");
        let before = now(&run.world.ended);
        pause_ms(1_500);
        let went_on = now(&run.world.ended) - before;
        assert!(went_on > 0, "completions go on ({ended} before the disk was full)");
        let full_acked = now(&run.world.acked);
        std::fs::remove_file(&file).expect("the ballast goes");
        run.nemesis("space again");
        let start = now_us();
        let resumed = wait_until(5_000, || now(&run.world.acked) > full_acked);
        let ms = (now_us() - start) / 1_000;
        say(&format!("f04-full: {went_on} ends while full, submits resumed after {ms} ms"));
        assert!(resumed, "submits resume within 5 s");
    }
    run.verdict(server);
}

#[test]
fn a_disk_that_cannot_grow_any_more_loses_nothing_acknowledged() {
    let _alone = alone();
    crate::f02_power::require_strace();
    let mut run = Run::new("f04-hard");
    let server = run.serve();
    run.load();
    pause_ms(500);
    run.kill(server, "kill -9");
    let nth = run.rng.range(100, 400);
    let mut arguments = trace::arguments(&run.side("trace").to_string_lossy());
    let inject = format!("inject=pwrite64,pwritev,fallocate,ftruncate:error=ENOSPC:when={nth}+");
    arguments.extend(["-e".into(), inject]);
    run.start.strace = Some(arguments);
    let mut server = run.serve();
    pause_ms(4_000);
    let ended = server.try_wait();
    let trace = std::fs::read(run.side("trace")).expect("strace left its trace");
    let hit = String::from_utf8_lossy(&trace).matches("(INJECTED)").count();
    say(&format!("f04-hard: {hit} calls failed with ENOSPC"));
    run.kill(server, "kill -9 while the disk is full");
    assert!(hit > 0, "invalid: no call was made to fail");
    assert!(ended.is_none(), "a full disk does not end the process: {ended:?}");
    run.start.strace = None;
    let server = run.serve();
    pause_ms(1_000);
    run.verdict(server);
}
