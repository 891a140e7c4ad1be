// One job: its bar, its numbers, its first error, its latest and its dead tasks.

import { get, part, Problem } from "../api.js";
import { jobActs, jobActsSig } from "../actions.js";
import { fill, h, setText } from "../dom.js";
import { ago, count, duration, full, percent, rate, stamp, until } from "../format.js";
import { link } from "../router.js";
import { chip, legend, progress, stateBar } from "../state.js";
import { serverNow } from "../store.js";
import { facts } from "./parts/facts.js";
import { tagList, taskTable } from "./parts/task_table.js";

export function job({ params }) {
  const head = h("div.hero");
  const note = h("p.problem", { role: "alert", hidden: true });
  const acts = h("div.panel-acts");
  const numbers = facts("Numbers of the job");
  const tags = h("div");
  const list = taskTable({
    caption: "Tasks of this job, newest first",
    empty: "No task yet.",
    small: true,
    job: false,
  });
  const dead = taskTable({
    caption: "Dead tasks of this job",
    empty: "No dead task.",
    small: true,
    errors: true,
    job: false,
  });
  const deadPanel = h(
    "section.panel",
    { hidden: true },
    h(
      "div.panel-head",
      {},
      h("h2", {}, "Dead letters"),
      h("a.more", { href: link("/dlq", { job: params.job }) }, "All of them"),
    ),
    dead.root,
  );
  let latest = null;
  let headSig = "";
  let actsSig = "";

  function show(job) {
    latest = job;
    const sig = JSON.stringify([
      job.state,
      job.paused,
      job.counts,
      job.submitted,
      job.purged,
      job.tags,
      job.name,
    ]);
    if (sig !== headSig) {
      headSig = sig;
      const { ended, all, text } = progress(job);
      fill(
        head,
        h(
          "div.hero-line",
          {},
          h("span.hero-number", {}, text),
          h("span.hero-text", {}, `${full(ended)} of ${full(all)} ended`),
          chip(job.paused ? "PAUSED" : job.state),
        ),
        stateBar(job.counts ?? {}, job.id),
        legend(job.counts ?? {}),
      );
      fill(tags, (job.tags ?? []).length > 0 ? tagList(job.tags) : null);
    }
    if (jobActsSig(job) !== actsSig) {
      actsSig = jobActsSig(job);
      fill(
        acts,
        jobActs(job, () => latest),
      );
    }
    numbers.update(rows(job));
    deadPanel.hidden = !(job.counts?.ERROR > 0);
  }

  return {
    title: params.job,
    root: h(
      "div.stack",
      {},
      note,
      h(
        "section.panel",
        {},
        h("div.panel-head", {}, h("a.more.left", { href: "#/jobs" }, "← All jobs"), acts),
        head,
        tags,
      ),
      h("section.panel", {}, h("div.panel-head", {}, h("h2", {}, "Numbers")), numbers.root),
      deadPanel,
      h(
        "section.panel",
        {},
        h(
          "div.panel-head",
          {},
          h("h2", {}, "Tasks"),
          h("a.more", { href: link("/tasks", { job: params.job }) }, "All tasks of this job"),
        ),
        list.root,
      ),
    ),
    every: 1,
    async refresh() {
      try {
        show((await get(`/jobs/${part(params.job)}`)).data);
        note.hidden = true;
        const [some, failed] = await Promise.allSettled([
          get("/tasks", { job: params.job, order: "new", limit: 15 }),
          deadPanel.hidden ? null : get("/dlq", { job: params.job, limit: 8 }),
        ]);
        if (some.status === "fulfilled") list.update(some.value.data);
        if (failed.status === "fulfilled" && failed.value) dead.update(failed.value.data);
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        if (error.status === 0) return;
        note.hidden = false;
        setText(note, error.message);
      }
    },
  };
}

function rows(job) {
  const now = serverNow();
  const live = job.live > 0;
  const warm = job.affinity && job.affinity.hits + job.affinity.misses > 0;
  return [
    ["Rate", live ? rate(job.ratePerSec ?? 0) : "–"],
    ["ETA", live ? until(job.eta_ts, now) : "–"],
    ["Mean run time", duration(job.meanRunMs)],
    ["Oldest waiting", job.counts?.PENDING > 0 ? duration(job.oldestPendingMs) : "–"],
    [
      "Warm hits",
      warm
        ? `${percent(job.affinity.hitRatio)} of ${count(job.affinity.hits + job.affinity.misses)}`
        : "–",
    ],
    ["Priority, weight", `${job.priority}, ${job.weight}`],
    ["Hand-outs", count(job.handedOut)],
    ["Failed attempts", count(job.failedAttempts)],
    ["Crashes", count(job.crashes)],
    ["Redriven", count(job.redriven)],
    ["Duplicates refused", count(job.duplicates)],
    ["Created", stamp(job.created_ts)],
    ["First hand-out", stamp(job.firstAllocated_ts)],
    job.ended_ts ? ["Ended", stamp(job.ended_ts)] : null,
    job.ended_ts && job.firstAllocated_ts
      ? ["Took", duration(job.ended_ts - job.firstAllocated_ts)]
      : null,
    job.cancelReason ? ["Cancelled because", job.cancelReason] : null,
    job.firstError
      ? [
          "First error",
          `${job.firstError.class}: ${job.firstError.message} (${ago(job.firstError.ts, now)})`,
        ]
      : null,
  ].filter(Boolean);
}
