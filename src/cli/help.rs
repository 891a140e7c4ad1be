//! `kwq help`, completions, man pages, and what the user sees after a typing error.

use super::Context;
use super::failure::{Failure, Verdict, exit};
use super::{Cli, human, out::Out};
use crate::model::reject::Code;
use clap::CommandFactory;
use clap::error::ErrorKind;
use std::path::Path;

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

/// Writes `kwq.1` and a page for each verb, e.g. `kwq-job-wait.1`.
pub(super) fn man(dir: &Path, context: &Context) -> Verdict {
    let failed = |error: std::io::Error| {
        Failure::io(&format!("cannot write man pages to {}", dir.display()), &error)
    };
    std::fs::create_dir_all(dir).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), dir).map_err(failed)?;
    context.out.note(&format!("man pages are in {}; read one with `man -l FILE`", dir.display()));
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
    if let Some(page) = crate::api::assets::error_text(what) {
        context.out.data(page.trim_end());
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
