//! The table of routes and the filters made of it.
//!
//! Each resource is one boxed group behind a check of its prefix, so a call tries only the routes
//! of its resource. The same table names the methods of a path for 405. Hot verbs are in the table
//! too; the front takes them first.

use crate::api::answer::Answer;
use crate::api::call::Call;
use crate::api::hot::Hot;
use crate::api::problem::Problem;
use crate::api::route::{Route, on, parts};
use crate::api::{
    assets, audit, breakdown, cluster, documents, events, gate, jobs, operations, query, queues,
    results, seed, series, simulations, tasks, workers,
};
use crate::model::reject::{Code, Reject};
use hyper::service::Service as _;
use hyper::{Method, Request};
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use warp::filters::BoxedFilter;
use warp::{Filter as _, Rejection, Reply as _};

/// Carries a call through the filters.
#[derive(Clone)]
pub(crate) struct Slot(Arc<Mutex<Option<Call>>>);

impl Slot {
    pub(crate) fn new(call: Call) -> Self {
        Self(Arc::new(Mutex::new(Some(call))))
    }
    fn take(&self) -> Option<Call> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
    fn line(&self) -> Option<(Method, String)> {
        let slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.as_ref().map(|call| (call.head.method.clone(), call.head.uri.path().to_owned()))
    }
}

/// The filters of everything that is not hot.
pub(crate) struct Routes {
    filter: BoxedFilter<(warp::reply::Response,)>,
}

impl Routes {
    pub(crate) fn new() -> Self {
        let mut filter = group("/kwq/jobs", jobs::routes());
        for (prefix, routes) in groups() {
            filter = filter.or(group(prefix, routes)).unify().boxed();
        }
        let rest = warp::ext::get::<Slot>().then(|slot: Slot| async move { unrouted(&slot) });
        let answered = filter.or(rest).unify().map(|answer: Answer| answer.into_response());
        Self { filter: answered.recover(broken).unify().boxed() }
    }

    /// Runs the filters for a call.
    pub(crate) async fn answer(&self, slot: Slot) -> warp::reply::Response {
        let (method, uri) = match &*slot.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(held) => (held.head.method.clone(), held.head.uri.clone()),
            None => (Method::GET, hyper::Uri::default()),
        };
        let mut request = Request::new(http_body_util::Empty::<hyper::body::Bytes>::new());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        request.extensions_mut().insert(slot);
        let service = TowerToHyperService::new(warp::service(self.filter.clone()));
        match service.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// Resources but those of `jobs` itself, with the prefix their paths share.
fn groups() -> Vec<(&'static str, Vec<Route>)> {
    vec![
        ("/kwq/jobs", breakdown::job_routes()),
        ("/kwq/jobs", results::routes()),
        ("/kwq/jobs", events::job_routes()),
        ("/kwq/events", events::node_routes()),
        ("/kwq/stats", breakdown::stats_routes()),
        ("/kwq/stats", series::routes()),
        ("/kwq/tasks", tasks::routes()),
        ("/kwq/dlq", tasks::dead_routes()),
        ("/kwq/dlq", operations::dead_routes()),
        ("/kwq/operations", operations::routes()),
        ("/kwq/workers", workers::routes()),
        ("/kwq/queues", queues::routes()),
        ("/kwq/stats", queues::stats_routes()),
        ("/kwq/simul", simulations::routes()),
        ("/kwq", seed::routes()),
        ("/kwq", hot()),
        ("/kwq", cluster::routes()),
        ("/kwq", audit::routes()),
        ("/", cluster::outer_routes()),
        ("/", assets::routes()),
        ("/", documents::routes()),
    ]
}

/// Normally answered by the front; here for a call whose path the front could not read, and for
/// 405.
fn hot() -> Vec<Route> {
    let route = |hot: Hot| {
        let row = hot.row();
        on(hot.method(), row.pattern, row.rule, move |call| hot.run(call))
    };
    Hot::ALL.map(route).into()
}

/// Every row.
pub(crate) fn table() -> Vec<Route> {
    let rest = groups().into_iter().flat_map(|(_, routes)| routes);
    jobs::routes().into_iter().chain(rest).collect()
}

fn group(prefix: &'static str, routes: Vec<Route>) -> BoxedFilter<(Answer,)> {
    let guard = warp::path::full().and_then(move |path: warp::path::FullPath| async move {
        let here = path.as_str().starts_with(prefix);
        here.then_some(()).ok_or_else(warp::reject::not_found)
    });
    let none =
        warp::any().and_then(|| async { Err::<Answer, Rejection>(warp::reject::not_found()) });
    let tower = routes.into_iter().fold(none.boxed(), |tower: BoxedFilter<(Answer,)>, route| {
        filter(route).or(tower).unify().boxed()
    });
    guard.untuple_one().and(tower).boxed()
}

fn filter(route: Route) -> BoxedFilter<(Answer,)> {
    warp::ext::get::<Slot>()
        .and_then(move |slot: Slot| {
            let route = route.clone();
            async move {
                let Some((method, path)) = slot.line() else {
                    return Err(warp::reject::not_found());
                };
                let Some(parts) = matched(&route, &method, &path) else {
                    return Err(warp::reject::not_found());
                };
                Ok(run(&route, &slot, &parts).await)
            }
        })
        .boxed()
}

async fn run(route: &Route, slot: &Slot, parts: &[&str]) -> Answer {
    let Some(call) = slot.take() else {
        return Problem::new(Code::Internal, "a call was routed twice").into();
    };
    gate::perform(call, route.row, |mut call| async move {
        let params: Result<Vec<String>, Reject> = parts.iter().map(|p| query::decode(p)).collect();
        call.params = params?;
        (route.handler)(call).await
    })
    .await
}

/// The variable parts of a path, if the row is for it.
fn matched<'p>(route: &Route, method: &Method, path: &'p str) -> Option<Vec<&'p str>> {
    let same = route.method == *method || (route.headed() && *method == Method::HEAD);
    if same { parts(route.row.pattern, path) } else { None }
}

/// 405 with the methods of the path, or 404.
fn unrouted(slot: &Slot) -> Answer {
    let Some((method, path)) = slot.line() else {
        return Problem::new(Code::Internal, "a call without a path").into();
    };
    let mut methods: Vec<&str> = Vec::new();
    let rows = table();
    for row in rows.iter().filter(|row| parts(row.row.pattern, &path).is_some()) {
        methods.push(row.method.as_str());
        if row.headed() {
            methods.push("HEAD");
        }
    }
    methods.sort_unstable();
    methods.dedup();
    let problem = if methods.is_empty() && method != Method::OPTIONS {
        Problem::new(Code::NoRoute, "there is no such path in this build")
    } else {
        Problem::new(Code::MethodNotAllowed, "the path does not have this method")
            .allow(methods.join(", "))
    };
    // Other methods may carry a body, which was not read.
    let bare = method == Method::GET || method == Method::HEAD;
    if bare { problem.into() } else { problem.closing().into() }
}

/// Nothing rejects past the last filter; if it does it is a bug of ours.
async fn broken(_: Rejection) -> Result<warp::reply::Response, Infallible> {
    Ok(Answer::from(Problem::new(Code::Internal, "a call fell through the routes")).into_response())
}
