//! `--dry-run`: what a verb would hit is looked at first, so that what the server would refuse is
//! refused here too. Must not: send anything that changes something.

use super::Context;
use super::failure::{Failure, exit};
use super::operations::named;
use super::out::text;
use crate::client::verbs::Job;
use crate::client::{Call, Client};
use serde_json::Value;

/// Does a verb on these jobs stop here, because it is a dry run? `refused` says whether the verb
/// cannot be done to a job.
pub(super) async fn on_jobs(
    context: &Context,
    client: &Client,
    ids: &[String],
    act: &str,
    refused: fn(&Job) -> bool,
) -> Result<bool, Failure> {
    if !context.global.dry_run {
        return Ok(false);
    }
    for id in ids {
        if refused(&client.job(id).await?) {
            return Err(conflict("job_ended", format!("job {id} has ended")));
        }
    }
    context.out.note(&format!("dry run: would {act} {}", named(ids)));
    Ok(true)
}

/// As [`on_jobs`], for one object that is shown with a state; `refused` is given the state.
pub(super) async fn on_one(
    context: &Context,
    client: &Client,
    look: Call,
    act: &str,
    (code, refused): (&str, fn(&str) -> bool),
) -> Result<bool, Failure> {
    if !context.global.dry_run {
        return Ok(false);
    }
    let shown: Value = client.send(look).await?.read()?;
    let state = text(&shown, "state");
    if refused(&state) {
        return Err(conflict(code, format!("this cannot {act}: it is {state}")));
    }
    context.out.note(&format!("dry run: would {act}"));
    Ok(true)
}

fn conflict(code: &str, what: String) -> Failure {
    Failure::new(code, what).exit(exit::CONFLICT).help(format!("`kwq help {code}` tells more"))
}
