//! What list verbs share: pages are fetched one after another until enough rows were shown.

use super::Context;
use super::failure::{Failure, Verdict, exit};
use super::out::{Format, View};
use crate::client::{Call, Client};
use serde_json::value::RawValue;

/// Rows of one page.
const PAGE: usize = 1_000;
/// Empty pages in a row before a list is given up; each has looked at thousands of tasks.
const EMPTY_PAGES_MAX: usize = 100_000;

/// Shows at most `limit` rows of a paged route.
pub(super) async fn show(
    context: &Context,
    client: &Client,
    call: &Call,
    limit: usize,
    view: &View,
) -> Verdict {
    let streamed = matches!(context.out.format(), Format::Ndjson | Format::Quiet);
    let mut all = Vec::new();
    let mut cursor: Option<String> = None;
    let (mut left, mut empty) = (limit, 0);
    while left > 0 && empty < EMPTY_PAGES_MAX {
        let (rows, next) = page(client, call, left.min(PAGE), cursor.as_deref()).await?;
        empty = if rows.is_empty() { empty + 1 } else { 0 };
        left = left.saturating_sub(rows.len());
        if streamed {
            context.out.rows(&rows, view);
        } else {
            all.extend(rows);
        }
        match next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    if !streamed {
        context.out.rows(&all, view);
    }
    Ok(exit::DONE)
}

/// One page and the cursor of the next.
pub(super) async fn page(
    client: &Client,
    call: &Call,
    limit: usize,
    cursor: Option<&str>,
) -> Result<(Vec<Box<RawValue>>, Option<String>), Failure> {
    let mut call = call.clone().query("limit", limit);
    if let Some(cursor) = cursor {
        call = call.query("cursor", cursor);
    }
    let answer = client.send(call).await?;
    let next = answer.next().map(str::to_owned);
    Ok((answer.read()?, next))
}
