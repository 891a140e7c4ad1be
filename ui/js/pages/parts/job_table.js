// Jobs as rows: state bar, progress, rate, ETA, errors, what can be done.

import { jobActs, jobActsSig } from "../../actions.js";
import { h } from "../../dom.js";
import { count, full, percent, rate, until } from "../../format.js";
import { link } from "../../router.js";
import { chip, progress, stateBar } from "../../state.js";
import { serverNow } from "../../store.js";
import { table } from "../../table.js";

export function jobTable({ acts }) {
  const latest = new Map();
  const grid = table({
    caption: "Jobs",
    key: (job) => job.id,
    empty: "No job yet. Submit a task and its job appears here.",
    columns: [
      {
        label: "Job",
        kind: "lead",
        cell: name,
        sig: (job) => `${job.id} ${job.name} ${job.state} ${job.paused}`,
      },
      {
        label: "Progress",
        kind: "wide",
        cell: bar,
        sig: (job) => JSON.stringify([job.counts, job.submitted, job.purged]),
      },
      {
        label: "Rate",
        kind: "num",
        cell: (job) => (job.live > 0 ? rate(job.ratePerSec ?? 0) : "–"),
      },
      {
        label: "ETA",
        kind: "num",
        cell: (job) => (job.live > 0 ? until(job.eta_ts, serverNow()) : "–"),
      },
      { label: "Errors", kind: "num", cell: errors, sig: (job) => String(job.counts?.ERROR ?? 0) },
      ...(acts
        ? [
            { label: "Pri", kind: "num", cell: (job) => `${job.priority}` },
            {
              label: "Warm",
              kind: "num",
              cell: (job) =>
                job.affinity && job.affinity.hits + job.affinity.misses > 0
                  ? percent(job.affinity.hitRatio)
                  : "–",
            },
            {
              label: "Actions",
              kind: "acts",
              cell: (job) => jobActs(job, () => latest.get(job.id) ?? job),
              sig: jobActsSig,
            },
          ]
        : []),
    ],
  });
  return {
    root: grid.root,
    update(list) {
      latest.clear();
      for (const job of list) latest.set(job.id, job);
      grid.update(list);
    },
  };
}

/** Link to a job. */
export function jobLink(id, text = id) {
  return h("a", { href: link(`/jobs/${encodeURIComponent(id)}`) }, text);
}

function name(job) {
  return h(
    "div.namecell",
    {},
    jobLink(job.id),
    h(
      "span.sub",
      {},
      chip(job.paused ? "PAUSED" : job.state),
      job.name && job.name !== job.id ? h("span", {}, job.name) : null,
    ),
  );
}

function bar(job) {
  const { ended, all, text } = progress(job);
  return h(
    "div.barcell",
    {},
    stateBar(job.counts ?? {}, job.id),
    h(
      "span.sub",
      { title: `${full(ended)} of ${full(all)}` },
      h("b", {}, text),
      ` ${count(ended)} of ${count(all)}`,
    ),
  );
}

function errors(job) {
  const n = job.counts?.ERROR ?? 0;
  return n > 0
    ? h("a.bad-number", { href: link("/dlq", { job: job.id }) }, count(n))
    : h("span.faint", {}, "0");
}
