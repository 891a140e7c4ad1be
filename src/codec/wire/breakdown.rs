//! A break-down as answered.

use crate::codec::wire::job::counts;
use crate::codec::wire::out::Out;
use crate::model::breakdown::Breakdown;
use crate::model::state::StateCounts;

/// Tasks without the key.
const NONE: &str = "__none";
/// Values without a row of their own.
const OTHER: &str = "__other";

/// The answer; `limit` is for values, not for what stands behind them.
pub fn view(out: &mut Out, job: Option<&str>, by: &str, found: &Breakdown, limit: usize) {
    out.open();
    out.opt_str("job", job);
    out.str("by", by);
    out.flag("overflow", found.overflow);
    out.list("rows");
    for (value, counts) in found.rows.iter().take(limit) {
        row(out, value, counts);
    }
    let behind = [(NONE, &found.none), (OTHER, &found.other)];
    for (value, counts) in behind {
        if let Some(counts) = counts {
            row(out, value, counts);
        }
    }
    out.close_list();
    out.close();
}

fn row(out: &mut Out, value: &str, states: &StateCounts) {
    out.open();
    out.str("value", value);
    out.num("total", states.total());
    out.key("counts");
    counts(out, states);
    out.close();
}
