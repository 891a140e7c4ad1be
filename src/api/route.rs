//! A row of the table of routes, and how a path fits it.

use crate::api::call::Call;
use crate::api::problem::Outcome;
use hyper::Method;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub(crate) type Handler =
    Arc<dyn Fn(Call) -> Pin<Box<dyn Future<Output = Outcome> + Send>> + Send + Sync>;

/// One row of the table.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) method: Method,
    /// `{x}` stands for one part, a last `*` for the rest.
    pub(crate) pattern: &'static str,
    pub(crate) handler: Handler,
}

/// A row.
pub(crate) fn on<F>(
    method: Method,
    pattern: &'static str,
    handler: impl Fn(Call) -> F + Send + Sync + 'static,
) -> Route
where
    F: Future<Output = Outcome> + Send + 'static,
{
    Route { method, pattern, handler: Arc::new(move |call| Box::pin(handler(call))) }
}

impl Route {
    /// HEAD is answered on static files and health only.
    pub(crate) fn headed(&self) -> bool {
        let open = ["/ui", "/docs", "/kwq/health", "/livez", "/readyz"];
        self.method == Method::GET
            && (self.pattern == "/" || open.iter().any(|p| self.pattern.starts_with(p)))
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
