//! A disk that fills up and gets room again: a small tmpfs, where it may be mounted.

use super::kit::*;
use kwq::log::embedded::{EmbeddedLog, Options};
use kwq::log::{Batch, Error, EventLog, Room};
use kwq::model::event::Stamped;
use kwq::model::id::Position;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

struct Mount(PathBuf);

impl Mount {
    fn new(at: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=4m", "kwq-log"]).arg(at);
        mount.output().is_ok_and(|o| o.status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).output());
    }
}

/// Fills what is left; nothing at all can be written afterwards.
fn ballast(dir: &Path) -> PathBuf {
    let path = dir.join("ballast");
    let mut file = fs::File::create(&path).unwrap();
    while file.write_all(&[1; 4_096]).is_ok() {}
    path
}

fn until(log: &EmbeddedLog, room: Room) {
    for _ in 0..500 {
        if log.room() == room {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("no {room:?} within 5 s, but {:?}", log.room());
}

#[test]
fn on_a_full_disk_work_goes_on_from_the_reserve_and_submits_resume() {
    let dir = TempDir::new();
    let Some(mount) = Mount::new(dir.path()) else {
        return println!("SKIPPED: a tmpfs may not be mounted here");
    };
    let options =
        Options { segment_bytes: 256 << 10, disk_reserve: Some(512 << 10), ..options(&mount.0) };
    let (log, _) = EmbeddedLog::open(options.clone()).unwrap();
    let epoch = own(&log, 0);
    let append = |stamped: Stamped| -> Result<Position, Error> {
        let ticket = log.append(p(0), Batch { epoch, events: vec![stamped].into() })?;
        Ok(ticket.wait()?.positions[0])
    };
    let mut acknowledged = vec![Position(epoch.0)];
    for round in 0..3u64 {
        acknowledged.push(append(submitted(round, &[&[b'x'; 1_000]])).unwrap());
        let file = ballast(&mount.0);
        until(&log, Room::WorkOnly);
        assert!(matches!(append(submitted(9, &[b"no"])), Err(Error::Full(_))));
        let mut went_on = 0;
        let end = loop {
            match append(completed(went_on, Some(&[b'r'; 1_400]))) {
                Ok(position) => acknowledged.push(position),
                Err(error) => break error,
            }
            went_on += 1;
        };
        assert!(matches!(end, Error::Full(_)), "{end:?}");
        assert!(went_on * 1_500 > 300 << 10, "only {went_on} reports went on from the reserve");
        fs::remove_file(file).unwrap();
        until(&log, Room::Plenty);
    }
    acknowledged.push(append(submitted(99, &[b"again"])).unwrap());
    drop(log);
    let (log, report) = EmbeddedLog::open(options).unwrap();
    assert_eq!(report.cut, None);
    let found: Vec<_> = all(&log).unwrap().iter().map(|r| r.position).collect();
    assert_eq!(found, acknowledged, "what was acknowledged, and nothing else");
}
