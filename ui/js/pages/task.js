// One task: its way through the states, its attempts, and on demand its payload and result.

import { get, part, Problem } from "../api.js";
import { taskActs } from "../actions.js";
import { button, fill, h, s, setText } from "../dom.js";
import { bytes, duration, stamp } from "../format.js";
import { chip, cssName } from "../state.js";
import { serverNow } from "../store.js";
import { table } from "../table.js";
import { facts } from "./parts/facts.js";
import { jobLink } from "./parts/job_table.js";
import { endedAt, tagList } from "./parts/task_table.js";

const SHOWN_MAX = 65_536;

export function task({ params }) {
  const note = h("p.problem", { role: "alert", hidden: true });
  const head = h("div.hero");
  const acts = h("div.panel-acts");
  const way = h("div.way");
  const numbers = facts("Facts of the task");
  const attempts = table({
    caption: "Attempts",
    empty: "Not handed out yet.",
    key: (attempt) => attempt.attempt,
    columns: [
      { label: "Try", kind: "lead", cell: (a) => `${a.attempt}` },
      { label: "Outcome", cell: (a) => a.outcome },
      { label: "Worker", cell: (a) => a.worker ?? "–" },
      { label: "Handed out", kind: "num", cell: (a) => stamp(a.allocated_ts) },
      {
        label: "Took",
        kind: "num",
        cell: (a) => (a.ended_ts ? duration(a.ended_ts - (a.running_ts || a.allocated_ts)) : "now"),
      },
      { label: "Class", cell: (a) => a.class ?? "–" },
      { label: "Message", kind: "wide", cell: (a) => a.message ?? "" },
    ],
  });
  const payload = viewer("Payload", params.ref, "payload");
  const result = viewer("Result", params.ref, "result");
  let sig = "";

  function show(task) {
    const now = `${task.state} ${task.attempt}`;
    if (now !== sig) {
      sig = now;
      fill(
        head,
        h(
          "div.hero-line",
          {},
          h("span.hero-name", {}, task.id ?? task.ref),
          chip(task.state),
          h("span.hero-text", {}, "in job ", jobLink(task.groupId)),
        ),
        tagList(task.tags),
      );
      fill(acts, taskActs(task));
    }
    drawWay(way, task);
    numbers.update(rows(task));
    attempts.update([...(task.attempts ?? [])].reverse());
    payload.size(task.payloadBytes);
    result.size(task.resultBytes);
  }

  return {
    title: "Task",
    root: h(
      "div.stack",
      {},
      note,
      h(
        "section.panel",
        {},
        h("div.panel-head", {}, h("a.more.left", { href: "#/tasks" }, "← All tasks"), acts),
        head,
        way,
      ),
      h("section.panel", {}, h("div.panel-head", {}, h("h2", {}, "Attempts")), attempts.root),
      h("div.split.even", {}, payload.root, result.root),
      h("section.panel", {}, h("div.panel-head", {}, h("h2", {}, "Facts")), numbers.root),
    ),
    every: 1,
    async refresh() {
      try {
        show((await get(`/tasks/${part(params.ref)}`)).data);
        note.hidden = true;
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        if (error.status === 0) return;
        note.hidden = false;
        setText(note, error.message);
      }
    },
  };
}

/** The stretches of the latest attempt: waited, allocated, ran. */
function drawWay(box, task) {
  const end = endedAt(task) || serverNow();
  const start = task.submitted_ts;
  const stretches = [
    ["DELAYED", "before it was due", start, Math.max(start, task.available_ts || start)],
    ["PENDING", "waited", Math.max(start, task.available_ts || start), task.allocated_ts || end],
    [
      "ALLOCATED",
      "handed out",
      task.allocated_ts,
      task.running_ts || (task.allocated_ts ? end : 0),
    ],
    [
      endedAt(task) ? task.state : "RUNNING",
      endedAt(task) ? "ran" : "runs",
      task.running_ts,
      task.running_ts ? end : 0,
    ],
  ].filter(([, , from, to]) => from && to > from);
  const total = stretches.reduce((sum, [, , from, to]) => sum + to - from, 0) || 1;
  const least = 14;
  const raw = stretches.map(([, , from, to]) => Math.max(least, ((to - from) / total) * 1_000));
  const sum = raw.reduce((a, b) => a + b, 0) || 1;
  let x = 0;
  const bar = s(
    "svg.statebar.tall",
    { viewBox: "0 0 1000 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("rect.rail", { x: 0, y: 0, width: 1000, height: 10 }),
  );
  stretches.forEach(([state], i) => {
    const width = (raw[i] / sum) * 1_000;
    bar.appendChild(
      s(`rect.fill-${cssName(state)}`, {
        x: x.toFixed(1),
        y: 0,
        width: width.toFixed(1),
        height: 10,
      }),
    );
    x += width;
  });
  fill(
    box,
    bar,
    h(
      "ol.stretches",
      {},
      stretches.map(([state, text, from, to]) =>
        h(
          "li",
          {},
          h("span.swatch", { class: `st-${cssName(state)}`, "aria-hidden": "true" }),
          `${text} `,
          h("b", {}, duration(to - from)),
        ),
      ),
    ),
  );
}

/** A closed box that fetches bytes when it is opened; never on its own. */
function viewer(title, ref, what) {
  const about = h("span.aside");
  const body = h("div.viewer");
  const open = button("Show", load, { class: "small" });
  async function load() {
    try {
      const { data } = await get(`/tasks/${part(ref)}`, { [what]: true });
      const value = data[what];
      const text =
        typeof value === "string"
          ? value
          : value === undefined
            ? ""
            : JSON.stringify(value, null, 2);
      fill(
        body,
        text === ""
          ? h("p.empty", {}, "Empty.")
          : h("pre", { tabindex: "0" }, pretty(text).slice(0, SHOWN_MAX)),
        text.length > SHOWN_MAX ? h("p.faint", {}, "Only the first 64 KiB are shown.") : null,
      );
      setText(open, "Show again");
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      fill(body, h("p.problem", {}, error.message));
    }
  }
  return {
    root: h("section.panel", {}, h("div.panel-head", {}, h("h2", {}, title), about, open), body),
    size(n) {
      setText(about, Number.isFinite(n) ? bytes(n) : "none yet");
      open.disabled = !Number.isFinite(n);
    },
  };
}

/** JSON in a text is shown laid out; anything else as it is. */
function pretty(text) {
  if (!/^\s*[[{]/.test(text)) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function rows(task) {
  return [
    ["Reference", task.ref],
    ["Priority", `${task.priority}`],
    ["Partition", `${task.partition}`],
    ["Affinity", (task.affinity ?? []).map((one) => one.key).join(", ") || "–"],
    ["Worker", task.worker ?? "–"],
    [
      "Errors, crashes",
      `${task.errors ?? 0} of ${task.maxAttempts ?? "–"}, ${task.crashes ?? 0} of ${task.maxCrashes ?? "–"}`,
    ],
    ["Redriven", `${task.redriven ?? 0}`],
    ["Longest run", task.timeoutSeconds > 0 ? duration(task.timeoutSeconds * 1_000) : "no limit"],
    ["Submitted", stamp(task.submitted_ts)],
    ["Available", stamp(task.available_ts)],
    ["Handed out", stamp(task.allocated_ts)],
    ["Started", stamp(task.running_ts)],
    ["Ended", stamp(endedAt(task))],
    task.source ? ["Source", task.source] : null,
    task.meta ? ["Meta", task.meta] : null,
    task.error ? ["Latest error", `${task.error.class}: ${task.error.message}`] : null,
    task.payloadSha256 ? ["Payload SHA-256", task.payloadSha256] : null,
  ].filter(Boolean);
}
