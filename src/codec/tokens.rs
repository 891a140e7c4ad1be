//! The tokens file: one JSON object a line, read strictly. A file with one bad line is bad as a
//! whole, so that a typing error never leaves half of the callers outside.
//!
//! ```text
//! {"name":"ops-2","sha256":"9f…","roles":["view","operate"],"scopes":["eod-"],
//!  "expires_ts":1790000000000}                                          (all of it on one line)
//! ```

use crate::codec::digest;
use crate::codec::json::{self, Fields, Raw};
use crate::codec::wire::field;
use crate::codec::wire::out::Out;
use crate::model::access::{Role, Roles, Scopes, Token};
use crate::model::id::Name;
use crate::model::limits;
use crate::model::reject::{Code, Reject};
use crate::model::time::WallMs;

/// What is wrong with a line. Never holds the line itself: a token may have been pasted into it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct Fault {
    /// From 1.
    pub line: usize,
    /// For people.
    pub reason: String,
}

/// Reads a whole file. Empty lines are skipped but counted.
///
/// # Errors
/// The first line that breaks a rule; a file without a token; more than 1,000 tokens.
pub fn parse(text: &str) -> Result<Vec<Token>, Fault> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut last = 1;
    for (line, content) in (1..).zip(text.lines()) {
        last = line;
        if content.trim_ascii().is_empty() {
            continue;
        }
        let fault = |reason: String| Fault { line, reason };
        let token = token(content).map_err(|reject| fault(reject.detail.into_owned()))?;
        if tokens.iter().any(|known| known.sha256 == token.sha256) {
            return Err(fault("the same sha256 stands in an earlier line".to_owned()));
        }
        if tokens.len() == limits::TOKENS_MAX {
            return Err(fault(format!("more than {} tokens", limits::TOKENS_MAX)));
        }
        tokens.push(token);
    }
    if tokens.is_empty() {
        return Err(Fault { line: last, reason: "the file names no token".to_owned() });
    }
    Ok(tokens)
}

fn token(line: &str) -> Result<Token, Reject> {
    let fields = json::object(line)?;
    known(&fields)?;
    let need = |name: &'static str| {
        let missing = || Reject::field(name, format!("`{name}` is missing"));
        fields.get(name).ok_or_else(missing)
    };
    let digest = field::string("sha256", need("sha256")?)?;
    let wrong = || Reject::field("sha256", "sha256 must have 64 hexadecimal digits");
    Ok(Token {
        name: field::name("name", need("name")?)?,
        sha256: digest::parse_hex(&digest).ok_or_else(wrong)?,
        roles: roles(need("roles")?)?,
        scopes: fields.get("scopes").map(scopes).transpose()?.unwrap_or_default(),
        expires: match fields.get("expires_ts") {
            Some(raw) => WallMs(field::integer("expires_ts", raw, 1, u64::MAX >> 11)?),
            None => WallMs(0),
        },
    })
}

fn known(fields: &Fields<'_>) -> Result<(), Reject> {
    const NAMES: &[&str] = &["name", "sha256", "roles", "scopes", "expires_ts"];
    for (name, _) in fields.iter() {
        if name == "cn" {
            let detail = "`cn`: client certificates are not in this build; give a `sha256`";
            return Err(Reject::new(Code::NotSupported, detail));
        }
        if !NAMES.contains(&name) {
            let detail = format!("unknown member `{}`", json::shown(name));
            return Err(Reject::new(Code::UnknownField, detail));
        }
    }
    Ok(())
}

fn roles(raw: Raw<'_>) -> Result<Roles, Reject> {
    let roles = field::list("roles", raw, Role::ALL.len(), |element| {
        let word = field::string("roles", field::scalar("roles", element)?)?;
        let words = Role::ALL.map(Role::word).join(", ");
        let wrong = || Reject::field("roles", format!("each of `roles` must be one of {words}"));
        Role::parse(&word).ok_or_else(wrong)
    })?;
    Ok(Roles::of(&roles))
}

fn scopes(raw: Raw<'_>) -> Result<Scopes, Reject> {
    let prefixes: Vec<Name> = field::list("scopes", raw, limits::SCOPES_MAX, |element| {
        field::name("scopes", field::scalar("scopes", element)?)
    })?;
    Ok(Scopes::new(prefixes))
}

/// The line of a token.
#[must_use]
pub fn line(token: &Token) -> String {
    let mut out = Out::with_capacity(256);
    out.open();
    out.str("name", &token.name);
    out.str("sha256", &digest::hex(&token.sha256));
    out.list("roles");
    token.roles.iter().for_each(|role| out.text(role.word()));
    out.close_list();
    if !token.scopes.everything() {
        out.list("scopes");
        token.scopes.iter().for_each(|scope| out.text(scope));
        out.close_list();
    }
    if let Some(expires) = token.expires.known() {
        out.num("expires_ts", expires.0);
    }
    out.close();
    String::from_utf8(out.into_bytes()).expect("written from strings")
}

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
