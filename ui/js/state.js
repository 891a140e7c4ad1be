// States of tasks and jobs: colour, shape and word together, so none of them is needed alone.

import { h, s } from "./dom.js";
import { full, percent } from "./format.js";

/** In the order of a state bar: what is done stands left, what waits stands right. */
export const STATES = [
  "COMPLETED",
  "ERROR",
  "CANCELLED",
  "EXPIRED",
  "RUNNING",
  "ALLOCATED",
  "PENDING",
  "DELAYED",
  "BLOCKED",
];
const SHAPES = {
  PENDING: "○",
  DELAYED: "◷",
  BLOCKED: "▢",
  ALLOCATED: "◔",
  RUNNING: "◑",
  COMPLETED: "✓",
  ERROR: "✕",
  CANCELLED: "⊘",
  EXPIRED: "⌛",
  OPEN: "◌",
  CLOSED: "◍",
  COMPLETED_WITH_ERRORS: "✓",
  FAILED: "✕",
  ACTIVE: "●",
  DRAINING: "◒",
  LOST: "○",
  PAUSED: "‖",
};

export function word(state) {
  return String(state ?? "unknown")
    .toLowerCase()
    .replaceAll("_", " ");
}

export function shape(state) {
  return SHAPES[state] ?? "·";
}

/** Colour, shape and word of a state. */
export function chip(state) {
  return h(
    "span.chip",
    { class: `st-${cssName(state)}` },
    h("span.shape", { "aria-hidden": "true" }, shape(state)),
    word(state),
  );
}

/** Stacked bar of counts by state. */
export function stateBar(counts, label) {
  const total = STATES.reduce((sum, state) => sum + (counts[state] ?? 0), 0);
  const said = STATES.filter((state) => counts[state] > 0)
    .map((state) => `${full(counts[state])} ${word(state)}`)
    .join(", ");
  const bar = s(
    "svg.statebar",
    {
      viewBox: "0 0 1000 10",
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": `${label ? `${label}: ` : ""}${said || "no tasks"}`,
    },
    s("title", {}, said || "no tasks"),
    s("rect.rail", { x: 0, y: 0, width: 1000, height: 10 }),
  );
  let x = 0;
  for (const [state, width] of widths(counts, total)) {
    bar.appendChild(
      s(`rect.fill-${cssName(state)}`, {
        x: x.toFixed(2),
        y: 0,
        width: width.toFixed(2),
        height: 10,
      }),
    );
    x += width;
  }
  return bar;
}

/** Done of all, for a job. */
export function progress(job) {
  const counts = job.counts ?? {};
  const ended = ["COMPLETED", "ERROR", "CANCELLED", "EXPIRED"].reduce(
    (sum, k) => sum + (counts[k] ?? 0),
    0,
  );
  const all = Math.max(0, (job.submitted ?? 0) - (job.purged ?? 0));
  return {
    ended,
    all,
    ratio: all === 0 ? NaN : ended / all,
    text: all === 0 ? "–" : percent(ended / all),
  };
}

/** Legend of the states that occur. */
export function legend(counts) {
  return h(
    "ul.legend",
    {},
    STATES.filter((state) => counts[state] > 0).map((state) =>
      h("li", {}, chip(state), h("b", {}, full(counts[state]))),
    ),
  );
}

export function cssName(state) {
  return String(state ?? "unknown")
    .toLowerCase()
    .replace(/[^a-z]+/g, "-");
}

/** What exists is seen: a state with one task of a million still gets a visible sliver. */
function widths(counts, total) {
  const present = STATES.filter((state) => counts[state] > 0);
  const least = 6;
  const raw = present.map((state) => Math.max(least, (counts[state] / total) * 1_000));
  const sum = raw.reduce((a, b) => a + b, 0);
  return present.map((state, i) => [state, (raw[i] / sum) * 1_000]);
}
