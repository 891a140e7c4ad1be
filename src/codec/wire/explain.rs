//! Why a task is not running, as answered.

use crate::codec::wire::out::Out;
use crate::model::explain::Explanation;
use crate::model::id::PartitionId;
use crate::model::reference::TaskRef;

/// The task that is explained.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Client id.
    pub id: Option<&'a str>,
    /// Reference.
    pub reference: &'a TaskRef,
    /// Partition that owns it.
    pub partition: PartitionId,
}

/// The answer.
pub fn view(out: &mut Out, task: Subject<'_>, why: &Explanation) {
    out.open();
    match task.id {
        Some(id) => out.str("id", id),
        None => out.shown("id", task.reference),
    }
    out.shown("ref", task.reference);
    out.str("state", why.state.name());
    out.num("priority", why.priority.get());
    if let Some(effective) = why.effective {
        out.num("effectivePriority", effective.get());
    }
    out.num("waitedMs", why.waited_ms);
    out.num("partition", task.partition.0);
    out.list("reasons");
    for reason in &why.reasons {
        out.open();
        out.str("code", reason.cause.name());
        if let Some(count) = reason.count {
            out.num("count", count);
        }
        out.str("detail", &reason.detail);
        out.close();
    }
    out.close_list();
    if let Some([ahead, peers, higher]) = why.ahead {
        out.num("ahead", ahead);
        out.num("aheadPeers", peers);
        out.num("aheadHigher", higher);
    }
    out.float("handOutsPerSec", why.rate, 3);
    if let Some(start) = why.start {
        out.num("estimatedStart_ts", start.0);
    }
    out.close();
}
