//! What a decided reply means to whoever asked for it.

use crate::actor::engine::unknown_outcome;
use crate::model::id::Position;
use crate::model::reject::Reject;
use crate::model::reply::{Decided, Reply};

impl Decided {
    /// The reply, or the refusal inside it.
    pub(crate) fn accepted(self) -> Result<(Reply, Position), Reject> {
        match self.reply {
            Reply::Refused(reject) => Err(reject),
            reply @ (Reply::Submitted(_)
            | Reply::InboxTaken { .. }
            | Reply::Noted(..)
            | Reply::Granted(_)
            | Reply::Reported(_)
            | Reply::Renewed(_)
            | Reply::Released(_)
            | Reply::Job(_)
            | Reply::Task(_)
            | Reply::Ticked(_)
            | Reply::Done) => Ok((reply, self.position)),
        }
    }
}

/// A reply of another kind than the command's cannot be; it is answered as an unknown outcome,
/// never as success.
pub(crate) fn mismatch() -> Reject {
    unknown_outcome()
}
