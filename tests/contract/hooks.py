"""Hooks of schemathesis for `make contract`.

Answers are held to the letter: a field that the document does not name is an error here, though
clients must expect new ones. Waits are cut short, and deadlines that the server may rightly miss
(503 `overloaded`) are made longer.
"""

import json

import schemathesis

WAIT_MS = 20
TIMEOUT_MS = 10_000
NDJSON = "application/x-ndjson"


@schemathesis.hook
def before_load_schema(context, raw_schema):
    close(raw_schema["components"]["schemas"])
    close(raw_schema["paths"])
    lines = {
        "type": "array",
        "maxItems": 5,
        "items": {
            "oneOf": [
                {"$ref": "#/components/schemas/NewTask"},
                {"$ref": "#/components/schemas/NewArray"},
            ]
        },
    }
    for item in raw_schema["paths"].values():
        for operation in item.values():
            content = operation.get("requestBody", {}).get("content", {})
            if NDJSON in content:
                content[NDJSON] = {"schema": lines}


def close(node):
    """Forbids other fields in every object that lists its own."""
    if isinstance(node, list):
        for item in node:
            close(item)
    if not isinstance(node, dict):
        return
    if node.get("type") == "object" and "properties" in node:
        node.setdefault("additionalProperties", False)
    for item in node.values():
        close(item)


@schemathesis.serializer(NDJSON)
def lines_of(context, value):
    items = value if isinstance(value, list) else [value]
    return "\n".join(json.dumps(item) for item in items).encode("utf-8", "surrogatepass")


@schemathesis.hook
def before_call(context, case, kwargs):
    if isinstance(case.body, dict) and whole(case.body.get("waitMs")):
        case.body["waitMs"] = min(case.body["waitMs"], WAIT_MS)
    if case.path.endswith("/wait") and shorter((case.query or {}).get("waitMs", "20000")):
        case.query = {**(case.query or {}), "waitMs": WAIT_MS}
    if case.path.endswith("/results") and endless((case.query or {}).get("follow")):
        case.query = {**case.query, "follow": "false"}
    if "waitSec" in (case.path_parameters or {}) and shorter(case.path_parameters["waitSec"]):
        case.path_parameters["waitSec"] = 0
    if case.path.endswith("/kwq/simulations") and isinstance(case.body, dict):
        shrink(case.body)
    for name in list(case.headers or {}):
        if name.lower() == "kwq-timeout-ms" and str(case.headers[name]).isdigit():
            given = int(case.headers[name])
            case.headers[name] = str(max(given, TIMEOUT_MS) if given else given)


def endless(follow):
    """True for a `follow` that the server takes: the answer ends when the job does."""
    return follow in (True, "true", "")


def shrink(plan):
    """Makes a simulation short: small numbers, no run time, nobody dies (leases take 30 s)."""
    most = {"tasks": 20, "jobs": 3, "workers": 3}
    for name, bound in most.items():
        if name not in plan or whole(plan[name]):
            plan[name] = min(plan.get(name, bound), bound)
    if "durationMs" not in plan or isinstance(plan["durationMs"], dict):
        spread = plan.get("durationMs", {})
        if "mean" not in spread or whole(spread["mean"]):
            plan["durationMs"] = {**spread, "mean": 1}
    if isinstance(plan.get("crashRate"), float):
        plan["crashRate"] = 0


def whole(value):
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def shorter(value):
    """True for a wait that the server would take and that is longer than ours."""
    return str(value).isdigit() and int(value) > 0
