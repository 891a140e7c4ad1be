//! A row of the table of routes, and how a path fits it.

use crate::api::call::Call;
use crate::api::problem::Outcome;
use crate::model::access::{Access, Role, Roles};
use hyper::Method;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub(crate) type Handler =
    Arc<dyn Fn(Call) -> Pin<Box<dyn Future<Output = Outcome> + Send>> + Send + Sync>;

/// What a row asks of its caller, and what the audit trail calls it. Data only: a document of the
/// routes can be made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) access: Access,
    /// Name of the operation in the audit trail; `None` = it changes nothing an operator looks for.
    pub(crate) audited: Option<&'static str>,
    /// It touches all jobs alike, so a token with scopes may not.
    pub(crate) whole: bool,
}

/// Everybody, without a token.
pub(crate) const OPEN: Rule = Rule::of(Access::Open);
/// Every valid token.
pub(crate) const ANY: Rule = Rule::of(Access::Any);
pub(crate) const SUBMIT: Rule = Rule::one(Role::Submit);
pub(crate) const WORK: Rule = Rule::one(Role::Work);
pub(crate) const VIEW: Rule = Rule::one(Role::View);
pub(crate) const PAYLOAD: Rule = Rule::one(Role::Payload);
pub(crate) const OPERATE: Rule = Rule::one(Role::Operate);
pub(crate) const ADMIN: Rule = Rule::one(Role::Admin);

impl Rule {
    const fn of(access: Access) -> Self {
        Self { access, audited: None, whole: false }
    }
    const fn one(role: Role) -> Self {
        Self::of(Access::OneOf(Roles::of(&[role])))
    }
    /// One of these roles.
    pub(crate) const fn any_of(roles: &[Role]) -> Self {
        Self::of(Access::OneOf(Roles::of(roles)))
    }
    /// Recorded in the audit trail under this name.
    pub(crate) const fn audited(self, op: &'static str) -> Self {
        Self { audited: Some(op), ..self }
    }
    /// Not for tokens with scopes.
    pub(crate) const fn whole(self) -> Self {
        Self { whole: true, ..self }
    }
}

/// A row without its handler.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// `{x}` stands for one part, a last `*` for the rest.
    pub(crate) pattern: &'static str,
    pub(crate) rule: Rule,
}

impl Row {
    pub(crate) const fn new(pattern: &'static str, rule: Rule) -> Self {
        Self { pattern, rule }
    }
}

/// One row of the table.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) row: Row,
    pub(crate) handler: Handler,
}

/// A row. There is none without a rule, so nothing is open by an oversight.
pub(crate) fn on<F>(
    method: Method,
    pattern: &'static str,
    rule: Rule,
    handler: impl Fn(Call) -> F + Send + Sync + 'static,
) -> Route
where
    F: Future<Output = Outcome> + Send + 'static,
{
    let row = Row::new(pattern, rule);
    Route { method, row, handler: Arc::new(move |call| Box::pin(handler(call))) }
}

impl Route {
    /// HEAD is answered on static files and health only.
    pub(crate) fn headed(&self) -> bool {
        let open = ["/ui", "/docs", "/openapi", "/swagger", "/kwq/health", "/livez", "/readyz"];
        self.method == Method::GET
            && (self.row.pattern == "/" || open.iter().any(|p| self.row.pattern.starts_with(p)))
    }
}

/// The variable parts of a path, if it fits the pattern.
pub(crate) fn parts<'p>(pattern: &str, path: &'p str) -> Option<Vec<&'p str>> {
    let mut out = Vec::new();
    let (mut pattern, mut path) = (pattern.strip_prefix('/')?, path.strip_prefix('/')?);
    loop {
        if pattern == "*" {
            out.push(path);
            return Some(out);
        }
        let (want, more) = pattern.split_once('/').map_or((pattern, None), |(w, m)| (w, Some(m)));
        let (have, rest) = path.split_once('/').map_or((path, None), |(h, r)| (h, Some(r)));
        if want.starts_with('{') && !have.is_empty() {
            out.push(have);
        } else if want != have {
            return None;
        }
        match (more, rest) {
            (None, None) => return Some(out),
            (Some(m), Some(r)) => (pattern, path) = (m, r),
            (Some(_), None) | (None, Some(_)) => return None,
        }
    }
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
