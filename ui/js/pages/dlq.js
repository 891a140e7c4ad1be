// Dead letters: final failures, newest first.

import { get } from "../api.js";
import { h } from "../dom.js";
import { filterBar } from "./parts/filter.js";
import { pager } from "./parts/pager.js";
import { taskTable } from "./parts/task_table.js";

export function deadLetters({ query }) {
  const grid = taskTable({
    caption: "Dead letters, newest first",
    empty: "No dead letters. Every failure so far was retried or accepted.",
    errors: true,
  });
  const bar = filterBar("/dlq", query, [
    { name: "job", label: "Job" },
    { name: "class", label: "Error class" },
    { name: "tag", label: "Tags, like currency:USD" },
  ]);
  const pages = pager((cursor) => {
    const values = bar.values();
    return get("/dlq", { ...values, tag: values.tag.split(/\s+/), limit: 50, cursor });
  }, grid.update);
  return {
    title: "Dead letters",
    root: h("section.panel", {}, bar.root, pages.note, grid.root, pages.root),
    refresh: pages.refresh,
  };
}
