//! `GET /kwq/stats/series`: numbers over time, kept by the server so that they are there at once.

use crate::api::answer::Answer;
use crate::api::call::Call;
use crate::api::problem::Outcome;
use crate::api::query::bad;
use crate::api::route::{Route, VIEW, on};
use crate::codec::wire::out::Out;
use crate::codec::wire::stats;
use crate::store::series::{Measure, Span};
use hyper::Method;

pub(crate) fn routes() -> Vec<Route> {
    vec![on(Method::GET, "/kwq/stats/series", VIEW, series)]
}

async fn series(call: Call) -> Outcome {
    let query = call.query(&["name", "range"])?;
    let mut measures: Vec<Measure> = Vec::new();
    for measure in query.list("name", Measure::parse)? {
        if !measures.contains(&measure) {
            measures.push(measure);
        }
    }
    if measures.is_empty() {
        let names = Measure::ALL.map(Measure::name).join(", ");
        return Err(bad("name", format!("name must list some of {names}")).into());
    }
    let span = query.one("range")?.and_then(Span::parse);
    let span = span.ok_or_else(|| bad("range", "range must be 10m, 6h or 7d"))?;
    let (from, window) = call.shared.api.handle.series(span, &measures);
    let rows = window.rows.iter().map(|(measure, values)| (measure.name(), values.as_slice()));
    let mut out = Out::with_capacity(80 + window.rows.len() * 8 * span.steps());
    stats::series(&mut out, from, span.step_s() * 1_000, rows);
    Ok(Answer::json(out.into_bytes()))
}
