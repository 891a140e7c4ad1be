//! What can be wrong with a configuration, and what to do about it.

use super::load::Origin;
use std::path::PathBuf;

/// Why a configuration is refused. `Display` says what, [`Error::help`] says what to do.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No such key in any release known to this build.
    #[error("unknown configuration key `{key}` ({origin})")]
    UnknownKey {
        /// As written.
        key: String,
        /// Nearest known key.
        nearest: Option<String>,
        /// Where it came from.
        origin: Origin,
    },
    /// A key or value of the design that this build does not have.
    #[error("`{key}` is not in this build yet: {feature} ({origin})")]
    NotInThisBuild {
        /// Key, or `key=value`.
        key: String,
        /// What it belongs to.
        feature: &'static str,
        /// Where it came from.
        origin: Origin,
    },
    /// A value that is no value of its key.
    #[error("`{key}` = `{value}`: {reason} ({origin})")]
    InvalidValue {
        /// Key.
        key: String,
        /// As written.
        value: String,
        /// What was expected.
        reason: String,
        /// Where it came from.
        origin: Origin,
    },
    /// A listener that others can reach, and no way to know who they are.
    #[error("`{key}` = `{value}` is reachable from other machines, and no tokens are configured")]
    InsecureListen {
        /// Key.
        key: &'static str,
        /// Address.
        value: String,
    },
    /// A listener that other machines can reach, and instances that do not know each other.
    #[error(
        "`node.internal-listen` = `{value}` is reachable from other machines, and `node.secret` \
         is not set: whoever reaches it could decide for the partitions served here"
    )]
    InsecureInternal {
        /// Address.
        value: String,
    },
    /// A file that cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    Unreadable {
        /// Path.
        path: PathBuf,
        /// The system's words.
        cause: String,
    },
    /// A file that is not TOML.
    #[error("{} is not valid TOML: {cause}", path.display())]
    NotToml {
        /// Path.
        path: PathBuf,
        /// The parser's words, with line and column.
        cause: String,
    },
}

impl Error {
    /// Stable code; its page is `docs/errors/<code>.md`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownKey { .. } => "config_unknown_key",
            Self::NotInThisBuild { .. } => "config_not_in_this_build",
            Self::InvalidValue { .. } => "config_invalid_value",
            Self::InsecureListen { .. } | Self::InsecureInternal { .. } => "config_insecure_listen",
            Self::Unreadable { .. } | Self::NotToml { .. } => "config_unreadable",
        }
    }

    /// What to do.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::UnknownKey { nearest: Some(name), .. } => format!("did you mean `{name}`?"),
            Self::UnknownKey { nearest: None, .. } => {
                "`kwq config default` prints every key with its meaning".to_owned()
            }
            Self::NotInThisBuild { .. } => {
                "take it out; README.md, \"What is not there yet\", lists what will come".to_owned()
            }
            Self::InvalidValue { key, .. } => {
                format!("see `{key}` in `kwq config default` for its unit, values and range")
            }
            Self::InsecureListen { key, .. } => format!(
                "name a file of tokens (`auth.tokens-file`, lines by `kwq token create`), listen \
                 on loopback (`{key}=127.0.0.1:8080`), or say `--insecure-no-auth`: then whoever \
                 reaches the port may do everything"
            ),
            Self::InsecureInternal { .. } => "set the same `node.secret` for all instances \
                 (KWQ_NODE__SECRET_FILE reads it from a file), or listen on loopback \
                 (`node.internal-listen=127.0.0.1:0`)"
                .to_owned(),
            Self::Unreadable { .. } => "check path and permissions, or drop --config".to_owned(),
            Self::NotToml { .. } => "`kwq config check FILE` lists every finding".to_owned(),
        }
    }
}
