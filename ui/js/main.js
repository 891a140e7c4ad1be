// The frame: navigation, badges, verdict, banner, theme, keys. It mounts the page of the address and passes it the pulse.

import { fill, h, icon, setAttribute, setText } from "./dom.js";
import { count, duration } from "./format.js";
import { listenKeys, showKeys } from "./keys.js";
import { start, toggle } from "./live.js";
import { current, route } from "./router.js";
import { ageMs, store, subscribe } from "./store.js";
import { overview } from "./pages/overview.js";
import { queues } from "./pages/queues.js";
import { jobs } from "./pages/jobs.js";
import { job } from "./pages/job.js";
import { tasks } from "./pages/tasks.js";
import { task } from "./pages/task.js";
import { deadLetters } from "./pages/dlq.js";
import { workers } from "./pages/workers.js";
import { initTheme, nextTheme } from "./theme.js";

const STALE_MS = 5_000;
const PAGES = [
  ["/", "Overview", "overview", () => null],
  ["/queues", "Queues", "queues", () => null],
  ["/jobs", "Jobs", "jobs", () => null],
  ["/tasks", "Tasks", "tasks", () => null],
  ["/dlq", "Dead letters", "dlq", (snapshot) => snapshot.tasks?.ERROR],
  [
    "/workers",
    "Workers",
    "workers",
    (snapshot) => (snapshot.workers?.idle ?? 0) + (snapshot.workers?.busy ?? 0),
  ],
];

const byId = (id) => document.getElementById(id);
const links = PAGES.map(([path, label, name, figure]) => {
  const number = h("span.nav-count", { hidden: true });
  const element = h("a.nav-link", { href: `#${path}` }, icon(name), h("span", {}, label), number);
  return { path, element, number, figure };
});
let mounted = null;
let spoken = { text: "", at: -Infinity };

route("/", overview);
route("/queues", queues);
route("/jobs", jobs);
route("/jobs/:job", job);
route("/tasks", tasks);
route("/tasks/:ref", task);
route("/dlq", deadLetters);
route("/workers", workers);

function mount(first) {
  const { page, params, query, path } = current();
  mounted?.close?.();
  mounted = page ? page({ params, query }) : lost();
  fill(byId("main"), h("h1", {}, mounted.title), mounted.root);
  document.title = `${mounted.title} · kwq`;
  for (const { path: target, element } of links) {
    const here = target === "/" ? path === "/" : path === target || path.startsWith(`${target}/`);
    setAttribute(element, "aria-current", here ? "page" : null);
  }
  if (!first) {
    byId("main").focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }
  mounted.update?.(store);
  refresh();
}

async function refresh() {
  const page = mounted;
  if (!page?.refresh || page.busy) return;
  page.busy = true;
  try {
    await page.refresh();
  } finally {
    page.busy = false;
  }
}

function lost() {
  return {
    title: "No such page",
    root: h("p.empty", {}, "Nothing lives at this address. ", h("a", { href: "#/" }, "Overview")),
  };
}

function frame() {
  const snapshot = store.snapshot;
  const stale = ageMs() > STALE_MS && !store.paused;
  const banner = byId("banner");
  const lostText = snapshot
    ? `No answer from the server for ${duration(ageMs())}. The numbers below are old; this page goes on by itself.`
    : `No answer from the server yet${store.error?.status ? ` (${store.error.message})` : ""}. Trying again every second.`;
  const wanted = stale && (snapshot || store.error);
  banner.hidden = !wanted;
  if (wanted) setText(banner, lostText);

  const state = store.paused ? "paused" : stale || !store.connected ? "away" : "on";
  const word = { paused: "Paused", away: "Reconnecting", on: "Live" }[state];
  setAttribute(byId("live"), "class", `live ${state}`);
  setAttribute(byId("live"), "aria-pressed", String(!store.paused));
  setText(byId("live"), word);
  document.body.classList.toggle("stale", Boolean(wanted));
  if (!snapshot) return;
  verdict(snapshot.verdict ?? { level: "ok", text: "" });
  for (const { number, figure } of links) {
    const value = figure(snapshot);
    number.hidden = !value;
    setText(number, value ? count(value) : "");
  }
  badges();
}

function verdict({ level, text }) {
  const mark = { ok: "✓", warn: "!", bad: "✕" }[level] ?? "·";
  const box = byId("verdict");
  setAttribute(box, "class", `verdict ${["ok", "warn", "bad"].includes(level) ? level : "ok"}`);
  if (box.dataset.text !== `${level} ${text}`) {
    box.dataset.text = `${level} ${text}`;
    fill(box, h("span.mark", { "aria-hidden": "true" }, mark), h("span", {}, text));
  }
  const now = performance.now();
  if (level !== spoken.text && now - spoken.at > 10_000) {
    spoken = { text: level, at: now };
    setText(byId("spoken"), text);
  }
}

function badges() {
  const server = store.server;
  if (!server) return;
  const reduced = server.durability === "reduced";
  const reasons = (server.durabilityReasons ?? []).join(", ");
  const list = [
    server.version ? ["", `kwq ${server.version}`, ""] : null,
    server.backend ? ["", `${server.backend} log`, ""] : null,
    server.durability
      ? [reduced ? "warn" : "ok", `${reduced ? "!" : "✓"} durability ${server.durability}`, reasons]
      : null,
    server.insecure
      ? ["bad", "! insecure", "everybody who reaches this address has every role"]
      : null,
    server.draining ? ["warn", "! draining", ""] : null,
  ].filter(Boolean);
  const sig = JSON.stringify(list);
  const box = byId("badges");
  if (box.dataset.sig === sig) return;
  box.dataset.sig = sig;
  fill(
    box,
    list.map(([level, text, title]) =>
      h("span.badge", { class: level, title: title || null }, text),
    ),
  );
}

initTheme();
fill(
  byId("nav"),
  links.map((one) => one.element),
);
byId("theme").addEventListener("click", nextTheme);
byId("help").addEventListener("click", showKeys);
byId("live").addEventListener("click", toggle);
listenKeys();
subscribe(frame);
subscribe(() => mounted?.update?.(store));
window.addEventListener("hashchange", () => mount(false));
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});
mount(true);
frame();
start(async (turn) => {
  if (turn % (mounted?.every ?? 2) === 0) await refresh();
});
