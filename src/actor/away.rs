//! Reports whose owner is away: left where it, or the next one, finds them (`commands`).
//!
//! A token acts once, so what is left may come twice, and also what may have come already.
//!
//! Must not: leave anything but reports.

use crate::actor::engine::Engine;
use crate::model::id::PartitionId;
use crate::model::reject::{Code, Reject};
use crate::model::report::Report;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

/// What became of reports that were to be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// They are there for good.
    Durable,
    /// They are not there.
    Refused,
    /// They may be there.
    Unknown,
}

/// Leaving takes a while.
pub type Leaving = Pin<Box<dyn Future<Output = Left> + Send>>;

/// A place where owners look.
pub trait Place: Send + Sync {
    /// Leaves reports for the owner of a partition; answers within a few seconds.
    fn leave(&self, id: PartitionId, reports: &[Report]) -> Leaving;
}

/// The place, if there is one: none with a log of its own.
#[derive(Default)]
pub struct Away(OnceLock<Arc<dyn Place>>);

impl Away {
    /// From now on reports are left there.
    pub fn leave_at(&self, place: Arc<dyn Place>) {
        // A node is set up once.
        self.0.set(place).ok();
    }

    /// What has to be kept of reports until they are decided.
    pub fn spare(&self, reports: &[Report]) -> Option<Vec<Report>> {
        self.0.get().map(|_| reports.to_vec())
    }
}

impl Engine {
    /// Reports were refused so. If their owner is away, or nobody knows what became of them, they
    /// are left for it.
    ///
    /// # Errors
    /// They are not: the refusal, which promises no more that nothing is applied if they may be
    /// there.
    pub(super) async fn leave_for_owner(
        &self,
        id: PartitionId,
        spare: Option<Vec<Report>>,
        reject: Reject,
    ) -> Result<(), Reject> {
        let away = matches!(reject.code, Code::PartitionUnavailable | Code::LogUnavailable);
        let (Some(reports), Some(place), true) = (spare, self.away.0.get(), away) else {
            return Err(reject);
        };
        match place.leave(id, &reports).await {
            Left::Durable => Ok(()),
            Left::Refused => Err(reject),
            Left::Unknown => Err(reject.possibly_applied()),
        }
    }
}
