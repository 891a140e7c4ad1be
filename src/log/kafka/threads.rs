//! Threads that are waited for, but not for ever: what a client of librdkafka does in its drop is
//! not ours.

use crate::log::Error;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Pause between two looks at something that other threads do.
pub(super) const PAUSE: Duration = Duration::from_millis(5);

pub(super) fn spawn(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Error> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map_err(|e| Error::Io { what: format!("starting {name}"), cause: e.to_string() })
}

/// Waits for a thread, but not for ever; false = it is left behind.
pub(super) fn ended(what: &str, thread: JoinHandle<()>, limit: Duration) -> bool {
    let mut patience = limit;
    while !thread.is_finished() {
        if patience.is_zero() {
            tracing::error!(what, "does not end and is left behind");
            return false;
        }
        thread::sleep(PAUSE);
        patience = patience.saturating_sub(PAUSE);
    }
    if thread.join().is_err() {
        tracing::error!(what, "has panicked");
    }
    true
}

/// Drops a client on a thread that is waited for; false = it does not end and is left behind.
pub(super) fn dropped<T: Send + 'static>(what: &str, client: T, limit: Duration) -> bool {
    match spawn("kwq-kafka-close", move || drop(client)) {
        Ok(thread) => ended(what, thread, limit),
        Err(error) => {
            tracing::error!(%error, what, "dropped without a watch on it");
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, sync_channel};

    /// What does not end before its other end is gone.
    struct Stuck(Receiver<()>);

    impl Drop for Stuck {
        fn drop(&mut self) {
            assert!(self.0.recv().is_err());
        }
    }

    #[test]
    fn what_does_not_end_is_left_behind() {
        let limit = Duration::from_millis(50);
        let (hold, held) = sync_channel(1);
        assert!(!dropped("a client", Stuck(held), limit));
        drop(hold);
        assert!(dropped("a client", (), Duration::from_secs(60)));
        let panics = spawn("kwq-test", || panic!("on purpose")).unwrap();
        assert!(ended("a thread", panics, Duration::from_secs(60)), "it has ended all the same");
    }
}
