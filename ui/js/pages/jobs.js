// All jobs: filter, sort, page; the address is the filter.

import { get } from "../api.js";
import { h } from "../dom.js";
import { filterBar } from "./parts/filter.js";
import { jobTable } from "./parts/job_table.js";
import { pager } from "./parts/pager.js";

export function jobs({ query }) {
  const grid = jobTable({ acts: true });
  const bar = filterBar("/jobs", query, [
    { name: "q", label: "Id starts with" },
    {
      name: "state",
      label: "State",
      options: [
        ["", "any"],
        ["OPEN", "open"],
        ["CLOSED", "closed"],
        ["COMPLETED", "completed"],
        ["COMPLETED_WITH_ERRORS", "completed with errors"],
        ["FAILED", "failed"],
        ["CANCELLED", "cancelled"],
      ],
    },
    { name: "tag", label: "Tag, like desk:rates" },
    {
      name: "sort",
      label: "Order",
      options: [
        ["", "newest"],
        ["eta", "ETA"],
        ["errors", "errors"],
        ["age", "oldest waiting"],
      ],
    },
  ]);
  const pages = pager(
    (cursor) => get("/jobs", { ...bar.values(), limit: 50, cursor }),
    grid.update,
  );
  return {
    title: "Jobs",
    root: h("section.panel", {}, bar.root, pages.note, grid.root, pages.root),
    every: 1,
    refresh: pages.refresh,
  };
}
