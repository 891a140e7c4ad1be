//! Description of one operation, and how it becomes an Operation Object.

use crate::api::openapi::{guarded, private, refusals, role_of};
use crate::api::route::Route;
use crate::codec::schema;
use crate::model::access::Access;
use crate::model::reject::Code;
use hyper::Method;
use serde_json::{Map, Value, json};

/// What the table does not say of a row.
#[derive(Clone)]
pub(super) struct Operation {
    method: Method,
    pattern: &'static str,
    id: &'static str,
    summary: &'static str,
    tag: &'static str,
    parameters: Vec<Value>,
    body: Option<Body>,
    answers: Vec<Answer>,
    refusals: Vec<(u16, Code)>,
    /// The query is looked at: an unknown parameter is refused.
    strict: bool,
}

#[derive(Clone)]
struct Body {
    required: bool,
    content: Value,
}

/// An answer that is no refusal.
#[derive(Clone)]
pub(super) struct Answer {
    status: u16,
    note: &'static str,
    content: Option<Value>,
    headers: Vec<&'static str>,
}

/// An answer without a body.
pub(super) fn empty(status: u16, note: &'static str) -> Answer {
    Answer { status, note, content: None, headers: Vec::new() }
}

/// A JSON answer.
pub(super) fn json(status: u16, note: &'static str, schema: Value) -> Answer {
    typed(status, note, "application/json", schema)
}

/// An answer of any type.
pub(super) fn typed(status: u16, note: &'static str, kind: &str, schema: Value) -> Answer {
    let content = json!({ kind: { "schema": schema } });
    Answer { status, note, content: Some(content), headers: Vec::new() }
}

impl Answer {
    /// Headers it may have, of [`headers`]; a last `!` = it always has it.
    pub(super) fn with(mut self, headers: &[&'static str]) -> Self {
        self.headers.extend(headers);
        self
    }

    /// In several types.
    pub(super) fn of(self, content: Value) -> Self {
        Self { content: Some(content), ..self }
    }

    fn value(&self, route: &Route) -> Value {
        let mut names = self.headers.clone();
        if private(route) {
            names.push("Cache-Control!");
        }
        if private(route) && !route.row.pattern.starts_with("/kwq/health") && self.status < 300 {
            names.push("Kwq-Position");
        }
        let mut value = json!({ "description": self.note, "headers": header_map(&names) });
        if let Some(content) = &self.content {
            value["content"] = content.clone();
        }
        value
    }
}

/// Headers of an answer; a last `!` = required.
pub(super) fn header_map(names: &[&'static str]) -> Value {
    let header = |name: &&'static str| match name.strip_suffix('!') {
        None => ((*name).to_owned(), json!({ "$ref": format!("#/components/headers/{name}") })),
        Some(name) => {
            let mut header = headers()[name].clone();
            header["required"] = json!(true);
            (name.to_owned(), header)
        }
    };
    Value::Object(names.iter().map(header).collect())
}

/// Every header of an answer.
pub(super) fn headers() -> Value {
    let whole = json!({ "type": "integer", "minimum": 0 });
    let text = json!({ "type": "string" });
    let header = |note: &str, schema: &Value| json!({ "description": note, "schema": schema });
    json!({
        "Allow": header("Methods of the path", &text),
        "Cache-Control": header("Always `no-store`", &json!({ "const": "no-store" })),
        "Deprecation": header("This route has a successor", &json!({ "const": "true" })),
        "Content-Disposition": header("To be saved, not shown", &json!({ "const": "attachment" })),
        "Kwq-Applied": header("`no`: nothing was logged, repeat it", &json!({ "const": "no" })),
        "Kwq-Attempt": header("Number of the hand-out", &whole),
        "Kwq-Drain": header("This worker is drained: stop asking", &json!({ "const": "true" })),
        "Kwq-Lag-Ms": header("Age of the tracker's data, ms", &whole),
        "Kwq-Lease": header("Token of the hand-out", &text),
        "Kwq-Lease-Ms": header("Length of the lease, ms", &whole),
        "Kwq-Next": header("Cursor of the next page", &text),
        "Kwq-Outcome": header("Of a submit", &json!({ "enum": ["ok", "duplicate"] })),
        "Kwq-Poll-After-Ms": header("Wait this long before the next consume, ms", &whole),
        "Kwq-Position": header("`partition:position` pairs the answer is valid for", &text),
        "Kwq-Ref": header("Reference of the task", &text),
        "Kwq-Replayed": header("Answer of an earlier call", &json!({ "const": "true" })),
        "Kwq-Scanned": header("Tasks looked at for this page", &whole),
        "Location": header("Where it is", &text),
        "Retry-After": header("Wait this long, s", &json!({ "type": "integer", "minimum": 1 })),
        "WWW-Authenticate": header("How to say who you are", &text),
    })
}

macro_rules! methods {
    ($($name:ident = $method:ident;)*) => {$(
        /// A described row of this method.
        pub(super) fn $name(pattern: &'static str, id: &'static str, summary: &'static str)
            -> Operation
        {
            Operation::new(Method::$method, pattern, id, summary)
        }
    )*};
}

methods! {
    get = GET;
    post = POST;
    patch = PATCH;
    delete = DELETE;
}

impl Operation {
    fn new(method: Method, pattern: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self {
            method,
            pattern,
            id,
            summary,
            tag: "node",
            parameters: Vec::new(),
            body: None,
            answers: Vec::new(),
            refusals: Vec::new(),
            strict: true,
        }
    }

    /// Its group.
    pub(super) fn tag(self, tag: &'static str) -> Self {
        Self { tag, ..self }
    }

    /// A part of the path.
    pub(super) fn part(mut self, name: &str, schema: Value) -> Self {
        self.parameters
            .push(json!({ "name": name, "in": "path", "required": true, "schema": schema }));
        self
    }

    /// A query parameter; its note is that of its schema.
    pub(super) fn query(mut self, name: &str, schema: Value) -> Self {
        self.parameters.push(json!({ "name": name, "in": "query", "schema": schema }));
        self
    }

    /// A query parameter that must be there.
    pub(super) fn needed(self, name: &str, schema: Value) -> Self {
        self.query(name, schema).required()
    }

    /// The latest parameter must be there.
    pub(super) fn required(mut self) -> Self {
        if let Some(parameter) = self.parameters.last_mut() {
            parameter["required"] = json!(true);
        }
        self
    }

    /// A query parameter of several values, separated by commas.
    pub(super) fn commas(mut self, name: &str, items: Value) -> Self {
        let schema = json!({ "type": "array", "items": items });
        self.parameters.push(json!({
            "name": name, "in": "query", "style": "form", "explode": false, "schema": schema,
        }));
        self
    }

    /// A query parameter that may be repeated.
    pub(super) fn repeated(mut self, name: &str, items: Value, max: usize) -> Self {
        let schema = json!({ "type": "array", "maxItems": max, "items": items });
        self.parameters.push(json!({ "name": name, "in": "query", "schema": schema }));
        self
    }

    /// A request header.
    pub(super) fn header(mut self, name: &str, schema: Value) -> Self {
        self.parameters.push(json!({ "name": name, "in": "header", "schema": schema }));
        self
    }

    /// Parameters of `components/parameters`.
    pub(super) fn shared(mut self, names: &[&str]) -> Self {
        self.parameters.extend(names.iter().map(|name| shared(name)));
        self
    }

    /// A JSON body of this named schema.
    pub(super) fn body(self, schema: &str) -> Self {
        self.content(true, json!({ "application/json": { "schema": schema::named(schema) } }))
    }

    /// A JSON body that may be left out.
    pub(super) fn optional_body(self, schema: &str) -> Self {
        self.content(false, json!({ "application/json": { "schema": schema::named(schema) } }))
    }

    /// A body of several types.
    pub(super) fn content(self, required: bool, content: Value) -> Self {
        Self { body: Some(Body { required, content }), ..self }
    }

    /// An answer that is no refusal.
    pub(super) fn answer(mut self, answer: Answer) -> Self {
        self.answers.push(answer);
        self
    }

    /// Codes it refuses with, beside those that [`refusals::usual`] gives to all alike.
    pub(super) fn refuses(mut self, codes: &[Code]) -> Self {
        self.refusals.extend(codes.iter().map(|code| (code.status(), *code)));
        self
    }

    /// Codes under another status than their own.
    pub(super) fn refuses_as(mut self, status: u16, codes: &[Code]) -> Self {
        self.refusals.extend(codes.iter().map(|code| (status, *code)));
        self
    }

    /// A file: query and body are not looked at.
    pub(super) fn file(self) -> Self {
        Self { strict: false, ..self }
    }

    /// True when its answers are described.
    pub(super) fn answered(&self) -> bool {
        !self.answers.is_empty()
    }

    /// True for the row it is the description of.
    pub(super) fn describes(&self, route: &Route) -> bool {
        self.method == route.method && self.pattern == route.row.pattern
    }

    /// The Operation Object.
    pub(super) fn value(&self, route: &Route) -> Value {
        let mut parameters = self.parameters.clone();
        if self.strict {
            parameters.push(shared("Lenient"));
        }
        if guarded(route) {
            parameters.push(shared("KwqTimeoutMs"));
        }
        let mut value = json!({
            "operationId": self.id,
            "summary": self.summary,
            "tags": [self.tag],
            "parameters": parameters,
            "responses": self.responses(route),
            "x-kwq-role": role_of(route.row.rule.access),
        });
        if route.row.rule.access != Access::Open {
            value["security"] = json!([{ "bearer": [] }]);
        }
        if route.row.rule.whole {
            value["x-kwq-scoped"] = json!(false);
        }
        if let Some(body) = &self.body {
            value["requestBody"] = json!({ "required": body.required, "content": body.content });
        }
        value
    }

    fn responses(&self, route: &Route) -> Value {
        let mut responses: Map<String, Value> = Map::new();
        for answer in &self.answers {
            responses.insert(answer.status.to_string(), answer.value(route));
        }
        let usual = refusals::usual(route, self.body.is_some(), self.strict);
        let own = usual.into_iter().map(|code| (code.status(), code));
        for (status, response) in refusals::responses(own.chain(self.refusals.clone()), route) {
            // Health says why it is not ready in its own shape.
            responses.entry(status.to_string()).or_insert(response);
        }
        Value::Object(responses)
    }
}

fn shared(name: &str) -> Value {
    json!({ "$ref": format!("#/components/parameters/{name}") })
}
