//! An end of a task → a line of results.

use crate::codec::wire::out::{Out, encoding_name};
use crate::codec::wire::task_out::latest_error;
use crate::model::ending::Ending;

/// One line, without its end.
pub fn line(out: &mut Out, ending: &Ending, cursor: &str) {
    out.open();
    match &ending.id {
        Some(id) => out.str("id", id),
        None => out.shown("id", ending.reference),
    }
    out.shown("ref", ending.reference);
    if let Some(index) = ending.reference.index {
        out.num("index", index);
    }
    out.str("state", ending.state.name());
    out.num("attempt", ending.attempt);
    if let Some(result) = &ending.result {
        out.blob("result", result);
        out.str("resultEncoding", encoding_name(result.encoding));
    }
    latest_error(out, ending.error.as_ref());
    out.stamp("ended_ts", ending.ended);
    out.str("cursor", cursor);
    out.close();
}
