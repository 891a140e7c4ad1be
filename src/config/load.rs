//! Layers: embedded defaults < file < environment < sets and flags. Keeps the origin of every
//! value.

use super::error::Error;
use super::{Config, names, resolve};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

const DEFAULTS: &str = include_str!("../../config/kwq.toml");

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config`; else `KWQ_CONFIG`, else `./kwq.toml` if it exists.
    pub file: Option<PathBuf>,
    /// Defaults of the verb: they win over the embedded file only.
    pub presets: &'static [(&'static str, &'static str)],
    /// `--set KEY=VALUE` and flags, in order; the last one of a key wins.
    pub sets: Vec<(String, String)>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The embedded file, or a default of the verb.
    Default,
    /// A configuration file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// `--set` or a flag.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Env(name) => write!(f, "environment {name}"),
            Self::Flag => f.write_str("command line"),
        }
    }
}

/// A configuration with the origin of each value.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Resolved values.
    pub config: Config,
    /// Key → value as written, origin.
    pub origins: BTreeMap<String, (String, Origin)>,
}

/// Stands for a value that nobody may see.
pub(super) const HIDDEN: &str = "(hidden)";

/// A value as it may be shown: what a terminal or a log shows, somebody else may read.
#[must_use]
pub fn shown<'a>(key: &str, value: &'a str) -> &'a str {
    let secret = key.ends_with("password") || key.ends_with("secret");
    if secret && !value.is_empty() { HIDDEN } else { value }
}

/// The parser's words; it quotes the line, unless that may hold what nobody may see.
fn parser_words(error: &toml::de::Error) -> String {
    let text = error.to_string();
    if !["password", "secret"].iter().any(|word| text.contains(word)) {
        return text;
    }
    text.lines().filter(|line| !line.contains('|')).collect::<Vec<_>>().join("\n")
}

/// Text per key, with origin.
pub(super) type Values = BTreeMap<String, (String, Origin)>;

/// The commented file with every key and default.
#[must_use]
pub fn default_text() -> &'static str {
    DEFAULTS
}

/// Reads all layers of this process.
///
/// # Errors
/// The first thing that is wrong.
pub fn load(sources: &Sources) -> Result<Loaded, Error> {
    // Names and values that are no UTF-8 cannot be ours.
    let env: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("KWQ_"))
        .collect();
    let here = Path::new("kwq.toml");
    let named = sources.file.clone().or_else(|| env.get("KWQ_CONFIG").map(PathBuf::from));
    let file = named.or_else(|| here.exists().then(|| here.to_path_buf()));
    load_from(sources.presets, file.as_deref(), &env, &sources.sets).map_err(first)
}

/// Everything that is wrong with a file on top of the defaults.
///
/// # Errors
/// All findings, at least one.
pub fn check_file(path: &Path) -> Result<Loaded, Vec<Error>> {
    load_from(&[], Some(path), &BTreeMap::new(), &[])
}

/// The embedded file alone.
pub(super) fn defaults() -> Result<Config, Vec<Error>> {
    load_from(&[], None, &BTreeMap::new(), &[]).map(|loaded| loaded.config)
}

/// All layers, nothing read from the process.
pub(super) fn load_from(
    presets: &[(&str, &str)],
    file: Option<&Path>,
    env: &BTreeMap<String, String>,
    sets: &[(String, String)],
) -> Result<Loaded, Vec<Error>> {
    let mut layers = Layers::new();
    for (key, value) in presets {
        layers.set(key, (*value).to_owned(), Origin::Default);
    }
    if let Some(path) = file {
        layers.file(path);
    }
    layers.env(env);
    for (key, value) in sets {
        layers.set(key, value.clone(), Origin::Flag);
    }
    let Layers { values, mut errors, .. } = layers;
    let (config, wrong) = resolve::resolve(&values);
    errors.extend(wrong);
    if errors.is_empty() { Ok(Loaded { config, origins: values }) } else { Err(errors) }
}

fn first(errors: Vec<Error>) -> Error {
    errors.into_iter().next().expect("a refused configuration has at least one finding")
}

/// `_` is read as `-`.
fn normal(key: &str) -> String {
    key.trim().replace('_', "-")
}

pub(super) struct Layers {
    /// Default per key: gives the known keys and their TOML types.
    known: BTreeMap<String, Value>,
    values: Values,
    errors: Vec<Error>,
}

impl Layers {
    pub(super) fn new() -> Self {
        let table: Table = DEFAULTS.parse().expect("the embedded config/kwq.toml is TOML");
        let mut known = BTreeMap::new();
        flatten("", table, &mut known);
        let with_origin = |(key, value): (&String, &Value)| {
            (key.clone(), (text_of(value).unwrap_or_default(), Origin::Default))
        };
        let values = known.iter().map(with_origin).collect();
        Self { known, values, errors: Vec::new() }
    }

    /// Known keys.
    #[cfg(test)]
    pub(super) fn keys(&self) -> Vec<String> {
        self.known.keys().cloned().collect()
    }

    fn file(&mut self, path: &Path) {
        let path_owned = || path.to_path_buf();
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) => {
                self.errors.push(Error::Unreadable { path: path_owned(), cause: e.to_string() });
                return;
            }
        };
        let table: Table = match text.parse() {
            Ok(table) => table,
            Err(e) => {
                self.errors.push(Error::NotToml { path: path_owned(), cause: parser_words(&e) });
                return;
            }
        };
        let mut found = BTreeMap::new();
        flatten("", table, &mut found);
        for (key, value) in found {
            self.typed(&key, &value, Origin::File(path_owned()));
        }
    }

    /// A value of a file must have the TOML type of the default.
    fn typed(&mut self, key: &str, value: &Value, origin: Origin) {
        let same = |known: &Value| known.same_type(value);
        if self.known.get(&normal(key)).is_none_or(same)
            && let Some(text) = text_of(value)
        {
            self.set(key, text, origin);
        } else if self.known.contains_key(&normal(key)) {
            let wanted = self.known[&normal(key)].type_str();
            self.errors.push(Error::InvalidValue {
                key: normal(key),
                value: shown(&normal(key), &value.to_string()).to_owned(),
                reason: format!("want a {wanted}, got a {}", value.type_str()),
                origin,
            });
        } else {
            self.set(key, value.to_string(), origin);
        }
    }

    /// `KWQ_A__B_C` is `a.b-c`; `…_FILE` reads the value from a file. Names without `__` are not
    /// keys.
    fn env(&mut self, env: &BTreeMap<String, String>) {
        for (name, value) in env {
            let Some(tail) = name.strip_prefix("KWQ_").filter(|tail| tail.contains("__")) else {
                continue;
            };
            let key = normal(&tail.to_ascii_lowercase().replace("__", "."));
            let from_file =
                key.strip_suffix("-file").filter(|short| self.known.contains_key(*short));
            match from_file {
                None => self.set(&key, value.clone(), Origin::Env(name.clone())),
                Some(short) => match fs::read_to_string(value) {
                    Ok(text) => {
                        self.set(short, text.trim_end().to_owned(), Origin::Env(name.clone()));
                    }
                    Err(e) => self.errors.push(Error::Unreadable {
                        path: PathBuf::from(value),
                        cause: format!("{e} (from {name})"),
                    }),
                },
            }
        }
    }

    fn set(&mut self, key: &str, value: String, origin: Origin) {
        let key = normal(key);
        if let Some(slot) = self.values.get_mut(&key) {
            *slot = (value, origin);
        } else if let Some(feature) = names::later(&key) {
            self.errors.push(Error::NotInThisBuild { key, feature, origin });
        } else {
            let nearest = names::nearest(&key, self.known.keys().map(String::as_str));
            let nearest = nearest.map(str::to_owned);
            self.errors.push(Error::UnknownKey { key, nearest, origin });
        }
    }
}

/// Tables become dotted keys.
fn flatten(prefix: &str, table: Table, out: &mut BTreeMap<String, Value>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(inner) => flatten(&path, inner, out),
            leaf @ (Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_)) => {
                out.insert(path, leaf);
            }
        }
    }
}

/// Text of a scalar; lists and dates are never values here.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}
