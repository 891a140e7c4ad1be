//! `kwq config …`

use super::Context;
use super::failure::{Verdict, exit};
use super::out::{View, left, text};
use super::serve::{bad_level, config_failure, pairs};
use crate::config::{self, Sources};
use clap::Subcommand;
use serde_json::json;
use serde_json::value::RawValue;
use std::path::{Path, PathBuf};

/// Verbs of the configuration.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigVerb {
    /// Show every value in force here
    Show {
        /// Also where each value comes from
        #[arg(long)]
        origin: bool,
        /// Configuration file
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Any configuration key (repeatable)
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
    /// Check a file; exit 8 when something is wrong
    Check {
        /// Configuration file
        file: PathBuf,
    },
    /// Print the commented file with every key and its default
    Default,
}

const WITH_ORIGIN: View = View {
    id: "key",
    columns: &[
        left("KEY", |row| text(row, "key")),
        left("VALUE", |row| text(row, "value")),
        left("ORIGIN", |row| text(row, "origin")),
    ],
};
const PLAIN: View = View { id: "key", columns: &[WITH_ORIGIN.columns[0], WITH_ORIGIN.columns[1]] };

/// Runs a verb.
pub(super) fn run(verb: &ConfigVerb, context: &Context) -> Verdict {
    match verb {
        ConfigVerb::Show { origin, config, set } => {
            let sources = Sources { file: config.clone(), sets: pairs(set)?, ..Sources::default() };
            show(*origin, &sources, context)
        }
        ConfigVerb::Check { file } => Ok(check(file, context)),
        ConfigVerb::Default => {
            context.out.bytes(config::default_text().as_bytes());
            Ok(exit::DONE)
        }
    }
}

fn check(file: &Path, context: &Context) -> u8 {
    let errors = match config::check_file(file) {
        Ok(loaded) => bad_level(&loaded).into_iter().collect(),
        Err(errors) => errors,
    };
    for error in &errors {
        context.out.failure(&config_failure(error));
    }
    if errors.is_empty() {
        context.out.note(&format!("{} is fine", file.display()));
        exit::DONE
    } else {
        exit::CHECK
    }
}

fn show(origin: bool, sources: &Sources, context: &Context) -> Verdict {
    let loaded = config::load(sources).map_err(|error| config_failure(&error))?;
    let mut rows = Vec::new();
    for (key, (value, from)) in &loaded.origins {
        let mut row = json!({ "key": key, "value": config::shown(key, value) });
        if origin {
            row["origin"] = json!(from.to_string());
        }
        rows.push(RawValue::from_string(row.to_string()).expect("a printed value is JSON"));
    }
    context.out.rows(&rows, if origin { &WITH_ORIGIN } else { &PLAIN });
    Ok(exit::DONE)
}
