//! Times and sizes of a worker's loop.

use std::time::Duration;

/// Wait of a consume.
pub(super) const WAIT: Duration = Duration::from_secs(20);
/// Tasks asked for when they are fetched by time.
pub(super) const MANY: u64 = 1_000;
/// The time a command gets between SIGTERM and SIGKILL when the worker itself must go.
pub(super) const LAST_GRACE: Duration = Duration::from_secs(1);
/// Reports that cannot be delivered this long after the last task are given up; leases heal them.
pub(super) const FLUSH: Duration = Duration::from_secs(30);
/// Beat before the server has named one.
pub(super) const BEAT: Duration = Duration::from_secs(10);
/// The loop looks around at least this often.
pub(super) const LOOK: Duration = Duration::from_millis(500);
/// Longest pause after a failed call.
pub(super) const PAUSE_MS_MAX: u64 = 5_000;
