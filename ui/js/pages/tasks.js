// Tasks: the latest changes, or what a filter finds. The address is the filter.

import { get } from "../api.js";
import { h } from "../dom.js";
import { STATES, word } from "../state.js";
import { filterBar } from "./parts/filter.js";
import { pager } from "./parts/pager.js";
import { taskTable } from "./parts/task_table.js";

export function tasks({ query }) {
  const grid = taskTable({ caption: "Tasks", empty: "No task matches." });
  const bar = filterBar("/tasks", query, [
    { name: "job", label: "Job" },
    {
      name: "state",
      label: "State",
      options: [["", "any"], ...[...STATES].reverse().map((state) => [state, word(state)])],
    },
    { name: "tag", label: "Tags, like currency:USD" },
    {
      name: "priority",
      label: "Priority",
      options: [["", "any"], ...[9, 8, 7, 6, 5, 4, 3, 2, 1].map((p) => [String(p), String(p)])],
    },
    { name: "worker", label: "Worker" },
    { name: "class", label: "Error class" },
    {
      name: "order",
      label: "Order",
      options: [
        ["", "latest change"],
        ["new", "newest first"],
        ["old", "oldest first"],
      ],
    },
  ]);
  const pages = pager((cursor) => get("/tasks", wanted(bar.values(), cursor)), grid.update);
  return {
    title: "Tasks",
    root: h("section.panel", {}, bar.root, pages.note, grid.root, pages.root),
    every: 1,
    refresh: pages.refresh,
  };
}

/** Without a choice the list shows the latest changes; several tags are separated by blanks. */
export function wanted(values, cursor) {
  const filtered = Object.entries(values).some(([name, value]) => name !== "order" && value !== "");
  const order = values.order || (filtered ? "new" : "recent");
  return { ...values, tag: values.tag.split(/\s+/), order, limit: 50, cursor };
}
