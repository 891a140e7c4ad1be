// The nine levels as small bars: where the backlog is, at a glance.

import { h, s, setAttribute, setText } from "../../dom.js";
import { count, duration } from "../../format.js";

export function levelList() {
  const rows = [9, 8, 7, 6, 5, 4, 3, 2, 1].map(make);
  const root = h(
    "div.levels",
    { role: "table", "aria-label": "Waiting tasks by priority" },
    rows.map((row) => row.root),
  );
  return {
    root,
    update(queues) {
      const by = new Map(queues.map((queue) => [queue.priority, queue]));
      const most = Math.max(1, ...queues.map((queue) => queue.pending ?? 0));
      for (const row of rows) row.update(by.get(row.priority), most);
    },
  };
}

function make(priority) {
  const bar = s("rect.fill-pending", { x: 0, y: 0, width: 0, height: 10 });
  const number = h("span.level-number", { role: "cell" }, "–");
  const age = h("span.level-age", { role: "cell" });
  const root = h(
    "div.level",
    { role: "row" },
    h("span.level-name", { role: "rowheader", title: `KWQ-${priority}` }, `${priority}`),
    h(
      "span.level-bar",
      { role: "cell" },
      s(
        "svg.statebar",
        { viewBox: "0 0 1000 10", preserveAspectRatio: "none", "aria-hidden": "true" },
        s("rect.rail", { x: 0, y: 0, width: 1000, height: 10 }),
        bar,
      ),
    ),
    number,
    age,
  );
  return {
    root,
    priority,
    update(queue, most) {
      const pending = queue?.pending ?? 0;
      // The root makes small levels visible beside a big one; the number says the truth.
      setAttribute(
        bar,
        "width",
        pending > 0 ? Math.max(14, Math.round(1_000 * Math.sqrt(pending / most))) : 0,
      );
      setText(number, pending > 0 ? count(pending) : "0");
      setText(age, queue?.paused ? "‖ paused" : pending > 0 ? duration(queue.oldestAgeMs) : "");
      setAttribute(
        root,
        "class",
        `level${pending === 0 ? " idle" : ""}${queue?.paused ? " paused" : ""}`,
      );
    },
  };
}
