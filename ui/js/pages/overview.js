// The one page that answers "how is it going": tiles, the last minutes as lines, jobs, levels, what happened last.

import { get } from "../api.js";
import { chart, sparkline } from "../chart.js";
import { fill, h, setAttribute, setText } from "../dom.js";
import { count, duration, full, rate, short } from "../format.js";
import { cssName, shape } from "../state.js";
import { jobTable } from "./parts/job_table.js";
import { levelList } from "./parts/levels.js";
import { taskTable } from "./parts/task_table.js";

const TILES = [
  tile(
    "Waiting",
    "PENDING",
    "#/tasks?state=PENDING,DELAYED",
    (s) => count(waiting(s)),
    (s) => (s.tasks.DELAYED > 0 ? `${count(s.tasks.DELAYED)} delayed` : "due now"),
    (s) => waiting(s),
  ),
  tile(
    "Allocated",
    "ALLOCATED",
    "#/tasks?state=ALLOCATED",
    (s) => count(s.tasks.ALLOCATED),
    () => "not yet started",
  ),
  tile(
    "Running",
    "RUNNING",
    "#/tasks?state=RUNNING",
    (s) => count(s.tasks.RUNNING),
    (s) => `${count(s.leases)} leases`,
  ),
  tile(
    "Done",
    "COMPLETED",
    "#/tasks?state=COMPLETED",
    (s) => count(s.tasks.COMPLETED),
    (s) => rate(s.rates?.complete),
  ),
  tile(
    "Errors",
    "ERROR",
    "#/dlq",
    (s) => count(s.tasks.ERROR),
    (s) => `${rate(s.rates?.fail)} failing`,
  ),
  tile(
    "Workers",
    "ACTIVE",
    "#/workers",
    (s) => count(s.workers.busy + s.workers.idle),
    (s) =>
      `${count(s.workers.busy)} busy${s.workers.lost ? `, ${count(s.workers.lost)} lost` : ""}`,
  ),
  tile(
    "Parked",
    "DRAINING",
    "#/workers",
    (s) => count(s.consumersWaiting),
    () => "idle consumers",
  ),
  tile(
    "Wait, p99",
    "DELAYED",
    "#/queues",
    (s) => (s.wait ? duration(s.wait.p99Ms) : oldest(s)),
    (s) => (s.wait ? `median ${duration(s.wait.p50Ms)}` : "oldest waiting task"),
  ),
];

export function overview() {
  const tiles = TILES.map(makeTile);
  const charts = [
    chart({
      title: "Waiting",
      about: "Tasks waiting over this session",
      series: [{ id: "pending", label: "tasks", look: "pending" }],
    }),
    chart({
      title: "In work",
      about: "Tasks allocated or running over this session",
      series: [{ id: "running", label: "tasks", look: "running" }],
    }),
    chart({
      title: "Flow",
      about: "Completions and submits per second over this session",
      format: (v) => `${short(v)}/s`,
      series: [
        { id: "complete", label: "done", look: "completed" },
        { id: "submit", label: "in", look: "allocated" },
      ],
    }),
  ];
  const jobs = jobTable({ acts: false });
  const levels = levelList();
  const recent = taskTable({
    caption: "Tasks that changed last",
    empty: "No task has changed yet.",
    small: true,
  });
  const affinity = h("span.aside");

  const root = h(
    "div.stack",
    {},
    h(
      "section.tiles",
      { "aria-label": "Counts" },
      tiles.map((one) => one.root),
    ),
    h(
      "section.charts",
      { "aria-label": "The last minutes" },
      charts.map((one) => one.root),
    ),
    h(
      "div.split",
      {},
      h(
        "section.panel",
        {},
        h(
          "div.panel-head",
          {},
          h("h2", {}, "Jobs"),
          affinity,
          h("a.more", { href: "#/jobs" }, "All jobs"),
        ),
        jobs.root,
      ),
      h(
        "section.panel",
        {},
        h(
          "div.panel-head",
          {},
          h("h2", {}, "Queues"),
          h("a.more", { href: "#/queues" }, "All queues"),
        ),
        levels.root,
      ),
    ),
    h(
      "section.panel",
      {},
      h(
        "div.panel-head",
        {},
        h("h2", {}, "Recent tasks"),
        h("a.more", { href: "#/tasks" }, "All tasks"),
      ),
      recent.root,
    ),
  );

  return {
    title: "Overview",
    root,
    every: 1,
    update(store) {
      if (!store.snapshot) return;
      for (const one of tiles) one.update(store);
      for (const one of charts) one.update(store.history);
      levels.update(store.snapshot.queues ?? []);
      const { hits = 0, misses = 0 } = store.snapshot.affinity ?? {};
      setText(
        affinity,
        hits + misses > 0 ? `${Math.round((100 * hits) / (hits + misses))} % warm hits` : "",
      );
    },
    async refresh() {
      const [some, last] = await Promise.allSettled([
        get("/jobs", { limit: 8 }),
        get("/tasks", { order: "recent", limit: 12 }),
      ]);
      if (some.status === "fulfilled") jobs.update(some.value.data);
      if (last.status === "fulfilled") recent.update(last.value.data);
    },
  };
}

function tile(label, state, href, value, aside, series) {
  return { label, state, href, value, aside, series };
}

function makeTile({ label, state, href, value, aside }) {
  const number = h("span.tile-number", {}, "–");
  const small = h("span.tile-aside");
  const spark = h("span.tile-spark");
  const series = { PENDING: "pending", RUNNING: "running", COMPLETED: "complete" }[state];
  const root = h(
    "a.tile",
    { href, class: `st-${cssName(state)}` },
    h("span.tile-label", {}, h("span.shape", { "aria-hidden": "true" }, shape(state)), label),
    number,
    small,
    spark,
  );
  return {
    root,
    update({ snapshot, history }) {
      setText(number, value(snapshot));
      setText(small, aside(snapshot));
      setAttribute(root, "title", `${label}: ${full(snapshot.tasks?.[state])}`.replace(/: –$/, ""));
      if (series)
        fill(
          spark,
          sparkline(
            history.slice(-90).map((point) => point[series]),
            cssName(state),
          ),
        );
    },
  };
}

function waiting({ tasks }) {
  return (tasks.PENDING ?? 0) + (tasks.DELAYED ?? 0) + (tasks.BLOCKED ?? 0);
}

function oldest(snapshot) {
  const ages = (snapshot.queues ?? []).map((queue) => queue.oldestAgeMs ?? 0);
  return duration(Math.max(0, ...ages));
}
