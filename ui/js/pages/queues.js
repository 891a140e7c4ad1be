// The nine levels, 9 first: what waits, how old it is, what flows, and a switch for hand-outs.

import { get } from "../api.js";
import { levelAct } from "../actions.js";
import { fill, h } from "../dom.js";
import { count, duration, rate } from "../format.js";
import { link } from "../router.js";
import { chip } from "../state.js";
import { table } from "../table.js";

export function queues() {
  const grid = table({
    caption: "Queues by priority, 9 is the most urgent",
    key: (queue) => queue.priority,
    empty: "No queues.",
    columns: [
      {
        label: "Queue",
        kind: "lead",
        cell: name,
        sig: (queue) => `${queue.priority} ${queue.topic}`,
      },
      {
        label: "State",
        cell: (queue) => chip(queue.paused ? "PAUSED" : "ACTIVE"),
        sig: (queue) => String(queue.paused),
      },
      { label: "Waiting", kind: "num", cell: (queue) => count(queue.pending) },
      { label: "Delayed", kind: "num", cell: (queue) => count(queue.delayed) },
      { label: "Allocated", kind: "num", cell: (queue) => count(queue.allocated) },
      { label: "Running", kind: "num", cell: (queue) => count(queue.running) },
      {
        label: "Oldest",
        kind: "num",
        cell: (queue) => (queue.pending > 0 ? duration(queue.oldestAgeMs) : "–"),
      },
      { label: "In", kind: "num", cell: (queue) => rate(queue.inPerSec) },
      { label: "Out", kind: "num", cell: (queue) => rate(queue.outPerSec) },
      { label: "Jobs", kind: "num", cell: (queue) => count(queue.jobs) },
      {
        label: "Action",
        kind: "acts",
        cell: (queue) => levelAct(queue.priority, queue.paused),
        sig: (queue) => String(queue.paused),
      },
    ],
  });
  const all = h("div.panel-acts");
  let allSig = "";
  return {
    title: "Queues",
    root: h(
      "section.panel",
      {},
      h(
        "div.panel-head",
        {},
        h(
          "p.intro",
          {},
          "The highest level with a task that may run is served first. Pausing stops hand-outs; what runs goes on.",
        ),
        all,
      ),
      grid.root,
    ),
    every: 1,
    async refresh() {
      const { data } = await get("/queues");
      grid.update(data);
      const paused = data.some((queue) => queue.paused);
      const running = data.some((queue) => !queue.paused);
      if (allSig === `${paused} ${running}`) return;
      allSig = `${paused} ${running}`;
      fill(
        all,
        running ? labelled(levelAct("all", false), "Pause all") : null,
        paused ? labelled(levelAct("all", true), "Resume all") : null,
      );
    },
  };
}

function name(queue) {
  return h(
    "a",
    { href: link("/tasks", { priority: queue.priority }) },
    queue.topic ?? `KWQ-${queue.priority}`,
  );
}

function labelled(button, text) {
  button.textContent = text;
  return button;
}
