// The only place that talks to the server. Addresses are relative, so any path prefix works; the token is a bearer
// header from `sessionStorage`, never a cookie.

const ROOT = new URL("../kwq", document.baseURI).pathname;
const TOKEN = "kwq.token";

/** A refusal in the words of the server. */
export class Problem extends Error {
  constructor(status, body) {
    super(
      body?.detail || body?.title || (status ? `HTTP ${status}` : "the server does not answer"),
    );
    this.status = status;
    this.code = body?.code ?? "";
  }
}

/** Reads JSON: `get("/jobs", {limit: 10})` → `{data, next, scanned, lagMs}`. A list value repeats its key. */
export async function get(path, query) {
  const response = await call("GET", path, query);
  const data = response.status === 204 ? null : await response.json();
  return {
    data,
    next: response.headers.get("Kwq-Next"),
    scanned: number(response.headers.get("Kwq-Scanned")),
    lagMs: number(response.headers.get("Kwq-Lag-Ms")),
  };
}

/** The ready answer, whose body is the same with 200 and 503. */
export async function ready() {
  const response = await send("GET", "/health/ready");
  return response.json();
}

/** Acts: `post("/jobs/x/pause")`. */
export async function post(path, body) {
  const response = await call("POST", path, undefined, body ?? {});
  const text = await response.text();
  return text === "" ? null : JSON.parse(text);
}

/** A part of a path. */
export function part(text) {
  return encodeURIComponent(text);
}

/** Keeps the token of this browser tab. */
export function setToken(token) {
  if (token) sessionStorage.setItem(TOKEN, token);
  else sessionStorage.removeItem(TOKEN);
}

async function call(method, path, query, body) {
  const response = await send(method, path, query, body);
  if (response.ok) return response;
  let problem = null;
  try {
    problem = await response.json();
  } catch {
    // An answer without a problem body, from a proxy perhaps: the status says enough.
  }
  throw new Problem(response.status, problem);
}

async function send(method, path, query, body) {
  const headers = { Accept: "application/json" };
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  try {
    return await fetch(`${ROOT}${path}${search(query)}`, {
      method,
      headers,
      cache: "no-store",
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(10_000),
    });
  } catch {
    throw new Problem(0, null);
  }
}

function search(query) {
  const pairs = new URLSearchParams();
  for (const [key, value] of Object.entries(query ?? {})) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== "") pairs.append(key, one);
    }
  }
  const text = pairs.toString();
  return text === "" ? "" : `?${text}`;
}

function number(text) {
  return text === null ? undefined : Number(text);
}
