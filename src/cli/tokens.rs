//! `kwq token …`: tokens are made here and nowhere else; the server knows only their digests.

use super::failure::{Failure, Verdict, exit};
use super::out::Format;
use super::{Context, human};
use crate::clock::{Entropy as _, SystemClock, SystemEntropy};
use crate::codec::wire::field;
use crate::codec::{digest, tokens};
use crate::model::access::{Role, Roles, Scopes, Token};
use crate::model::id::Name;
use crate::model::limits;
use crate::model::time::WallMs;
use clap::{Args, Subcommand};
use std::time::Duration;

/// Verbs of tokens.
#[derive(Debug, Subcommand)]
pub(super) enum TokenVerb {
    /// Make a token: prints it once, and the line for the tokens file
    Create(CreateArgs),
}

/// `token create`
#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// Who it is for; shown in the audit trail
    #[arg(long)]
    name: String,
    /// submit, work, view, payload, operate or admin (repeatable)
    #[arg(long, required = true, value_parser = role)]
    role: Vec<Role>,
    /// Prefix of the job ids it may touch (repeatable) [default: every job]
    #[arg(long, value_name = "PREFIX")]
    scope: Vec<String>,
    /// Not valid after this time from now [default: for ever]
    #[arg(long, value_parser = human::duration_flag, value_name = "DURATION")]
    expires: Option<Duration>,
}

fn role(word: &str) -> Result<Role, String> {
    let words = Role::ALL.map(Role::word).join(", ");
    Role::parse(word).ok_or_else(|| format!("must be one of {words}"))
}

/// Runs a verb.
pub(super) fn run(verb: TokenVerb, context: &Context) -> Verdict {
    let TokenVerb::Create(args) = verb;
    let secret = secret();
    let line = tokens::line(&token(&args, &secret)?);
    match context.out.format() {
        Format::Table => {
            context.out.data(&format!("token  {secret}"));
            context.out.data(&format!("line   {line}"));
            context.out.note("the token is shown this once; append the line to auth.tokens-file");
        }
        Format::Json | Format::Ndjson => {
            context.out.data(&format!("{{\"token\":\"{secret}\",\"line\":{line}}}"));
        }
        Format::Quiet => context.out.data(&secret),
    }
    Ok(exit::DONE)
}

/// 256 bits, with a beginning that scanners for leaked secrets can look for.
fn secret() -> String {
    let bytes: Vec<u8> = (0..4).flat_map(|_| SystemEntropy.next_u64().to_be_bytes()).collect();
    format!("kwq_{}", digest::hex(&bytes))
}

fn token(args: &CreateArgs, secret: &str) -> Result<Token, Failure> {
    if args.scope.len() > limits::SCOPES_MAX {
        return Err(Failure::usage(format!("more than {} scopes", limits::SCOPES_MAX)));
    }
    let scopes: Result<Vec<Name>, Failure> =
        args.scope.iter().map(|scope| name("--scope", scope)).collect();
    let now = SystemClock::shared().now().wall;
    let after = |lasts: Duration| now.plus(u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX));
    Ok(Token {
        name: name("--name", &args.name)?,
        sha256: digest::sha256(secret.as_bytes()),
        roles: Roles::of(&args.role),
        scopes: Scopes::new(scopes?),
        expires: args.expires.map_or(WallMs(0), after),
    })
}

fn name(flag: &str, text: &str) -> Result<Name, Failure> {
    match field::name_fault(text) {
        None => Ok(Name::from(text)),
        Some(fault) => Err(Failure::usage(format!("{flag} {fault}"))),
    }
}
