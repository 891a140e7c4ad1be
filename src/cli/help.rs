//! `kwq help`, completions, and what the user sees after a typing error.

use super::Context;
use super::failure::{Failure, Verdict, exit};
use super::{Cli, human, out::Out};
use crate::model::reject::Code;
use clap::CommandFactory;
use clap::error::ErrorKind;

/// Shows a parse result that is no command line: help and version as data, the rest as an error.
pub(super) fn usage_error(error: &clap::Error) -> u8 {
    let out = Out::new(None, false, false);
    let text = error.render().to_string();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        out.data(text.trim_end());
        return exit::DONE;
    }
    let text = text.trim_end().replace("\n  tip: ", "\nhelp: ");
    let text = match text.strip_prefix("error: ") {
        Some(rest) => format!("error[usage]: {rest}"),
        None => format!("error[usage]: a verb is missing\n\n{text}"),
    };
    out.note(&text);
    exit::USAGE
}

/// Prints a completion script.
pub(super) fn completions(shell: clap_complete::Shell, context: &Context) -> Verdict {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "kwq", &mut script);
    context.out.bytes(&script);
    Ok(exit::DONE)
}

/// Explains a verb or an error code.
pub(super) fn run(what: Option<&str>, context: &Context) -> Verdict {
    let mut command = Cli::command();
    let Some(what) = what else {
        context.out.data(command.render_help().to_string().trim_end());
        return Ok(exit::DONE);
    };
    command.build();
    if let Some(verb) = command.find_subcommand_mut(what) {
        context.out.data(verb.render_help().to_string().trim_end());
        return Ok(exit::DONE);
    }
    if let Some(code) = Code::ALL.iter().find(|code| code.word() == what) {
        context.out.data(&page(*code));
        return Ok(exit::DONE);
    }
    let verbs: Vec<String> = command.get_subcommands().map(|v| v.get_name().to_owned()).collect();
    let words = verbs.iter().map(String::as_str).chain(Code::ALL.iter().map(|code| code.word()));
    let near = human::nearest(what, &words.collect::<Vec<_>>());
    let failure = Failure::usage(format!("`{what}` is neither a verb nor an error code"));
    Err(failure.help(near.map_or_else(
        || "`kwq help` lists the verbs".to_owned(),
        |near| format!("did you mean `{near}`?"),
    )))
}

/// Meaning and cure of a code, by what class of answer it is.
fn page(code: Code) -> String {
    let (meaning, cure) = match code.status() {
        400 => ("the request cannot be read", "look at the detail: it names the place"),
        401 | 403 => ("the caller may not do this", "use a token that has the role"),
        404 => ("nothing is known by that name", "list what there is, e.g. `kwq job ls`"),
        409 => ("the state of things does not allow it", "look at the object, then decide"),
        410 => ("it was purged", "nothing: it is gone for good"),
        413 => ("something is larger than its limit", "send less at once, or raise `limits.*`"),
        415 => ("the body has another type", "send application/json or application/x-ndjson"),
        422 => ("a field breaks a rule", "mend the field that the answer names"),
        429 => ("the caller is over its share", "wait as long as Retry-After says"),
        500 => ("a bug of kwq", "report it with the server's log"),
        503 => ("not possible right now", "repeat after Retry-After; nothing is broken for good"),
        507 => ("the disk is full", "free space; completions go on meanwhile"),
        _ => ("the request breaks a limit of HTTP", "send a smaller or simpler request"),
    };
    let word = code.word();
    format!("{word} (HTTP {})\n  meaning  {meaning}\n  cure     {cure}", code.status())
}
