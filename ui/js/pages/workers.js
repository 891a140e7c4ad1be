// Workers: who is there, what they hold, what they did.

import { get } from "../api.js";
import { h } from "../dom.js";
import { ago, count } from "../format.js";
import { link } from "../router.js";
import { chip } from "../state.js";
import { serverNow } from "../store.js";
import { table } from "../table.js";
import { filterBar } from "./parts/filter.js";
import { pager } from "./parts/pager.js";

export function workers({ query }) {
  const grid = table({
    caption: "Workers",
    key: (worker) => worker.worker,
    empty: "No worker yet. Start one with: kwq work -- cat",
    columns: [
      {
        label: "Worker",
        kind: "lead",
        cell: name,
        sig: (worker) => `${worker.worker} ${worker.endpoint} ${worker.version}`,
      },
      { label: "State", cell: (worker) => chip(worker.state), sig: (worker) => worker.state },
      {
        label: "Leases",
        kind: "num",
        cell: (worker) =>
          worker.slots ? `${count(worker.leases)} of ${count(worker.slots)}` : count(worker.leases),
      },
      { label: "Completed", kind: "num", cell: (worker) => count(worker.completed) },
      { label: "Failed", kind: "num", cell: (worker) => count(worker.failed) },
      { label: "Crashed", kind: "num", cell: (worker) => count(worker.crashed) },
      {
        label: "Warm keys",
        kind: "tagcell",
        cell: keys,
        sig: (worker) => (worker.affinity ?? []).join(),
      },
      { label: "Last seen", kind: "num", cell: (worker) => ago(worker.lastSeen_ts, serverNow()) },
      { label: "Since", kind: "num", cell: (worker) => ago(worker.firstSeen_ts, serverNow()) },
    ],
  });
  const bar = filterBar("/workers", query, [
    {
      name: "state",
      label: "State",
      options: [
        ["", "any"],
        ["ACTIVE", "active"],
        ["DRAINING", "draining"],
        ["LOST", "lost"],
      ],
    },
  ]);
  const pages = pager(
    (cursor) => get("/workers", { ...bar.values(), limit: 100, cursor }),
    grid.update,
  );
  return {
    title: "Workers",
    root: h("section.panel", {}, bar.root, pages.note, grid.root, pages.root),
    every: 1,
    refresh: pages.refresh,
  };
}

function name(worker) {
  const about = [worker.endpoint, worker.version].filter(Boolean).join(" · ");
  return h(
    "div.namecell",
    {},
    h("a.mono", { href: link("/tasks", { worker: worker.worker }) }, worker.worker),
    about ? h("span.sub", {}, about) : null,
  );
}

function keys(worker) {
  const list = worker.affinity ?? [];
  if (list.length === 0) return h("span.faint", {}, "–");
  return h(
    "span.tags",
    { title: list.join(", ") },
    list.slice(0, 4).map((key) => h("span.tag.key", {}, key)),
    list.length > 4 ? h("span.faint", {}, `+${list.length - 4}`) : null,
  );
}
