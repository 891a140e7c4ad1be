// Tasks as rows; the same table on Overview, Tasks, Job and Dead letters.

import { h } from "../../dom.js";
import { ago, duration } from "../../format.js";
import { link } from "../../router.js";
import { chip } from "../../state.js";
import { serverNow } from "../../store.js";
import { table } from "../../table.js";
import { jobLink } from "./job_table.js";

/** `small` leaves out priority, `job: false` the job; `errors` shows class and message instead of times. */
export function taskTable({ caption, empty, small = false, errors = false, job = true }) {
  const columns = [
    { label: "Task", kind: "lead", cell: taskLink, sig: (task) => `${task.id ?? ""} ${task.ref}` },
    { label: "State", cell: (task) => chip(task.state), sig: (task) => task.state },
    ...(job
      ? [
          {
            label: "Job",
            kind: "jobcell",
            cell: (task) => jobLink(task.groupId),
            sig: (task) => task.groupId,
          },
        ]
      : []),
    ...(small ? [] : [{ label: "Pri", kind: "num", cell: (task) => `${task.priority}` }]),
    ...(errors
      ? [
          {
            label: "Class",
            cell: (task) => h("code", {}, task.error?.class ?? "–"),
            sig: (task) => task.error?.class ?? "",
          },
          { label: "Message", kind: "wide", cell: (task) => task.error?.message ?? "" },
          {
            label: "Failed",
            kind: "num",
            cell: (task) => ago(task.error?.ts ?? task.error_ts, serverNow()),
          },
        ]
      : [
          {
            label: "Tags",
            kind: "tagcell",
            cell: (task) => tagList(task.tags, small && job ? 3 : 4),
            sig: (task) => (task.tags ?? []).join(),
          },
          { label: "Worker", kind: "clip", cell: (task) => task.worker ?? "–" },
          { label: "Took", kind: "num", cell: (task) => took(task, serverNow()) },
          { label: "Changed", kind: "num", cell: (task) => ago(changedAt(task), serverNow()) },
        ]),
    { label: "Try", kind: "num", cell: (task) => `${task.attempt ?? 0}` },
  ];
  return table({ caption, empty, columns, key: (task) => task.ref });
}

/** Tags as small labels; a click filters. */
export function tagList(tags, most = 32) {
  const list = tags ?? [];
  const shown = list.slice(0, most);
  return h(
    "span.tags",
    {},
    shown.map((tag) => h("a.tag", { href: link("/tasks", { tag }) }, tag)),
    list.length > most
      ? h("span.faint", { title: list.join(", ") }, `+${list.length - most}`)
      : null,
  );
}

/** Run time: of the end, or so far. */
export function took(task, now) {
  const from = task.running_ts || task.allocated_ts;
  if (!from || !["RUNNING", "ALLOCATED", "COMPLETED", "ERROR", "CANCELLED"].includes(task.state))
    return "–";
  const end = endedAt(task);
  return duration((end || now) - from);
}

/** When the task ended, 0 while it lives. */
export function endedAt(task) {
  return task.completed_ts || task.error_ts || task.cancelled_ts || 0;
}

function changedAt(task) {
  return (
    endedAt(task) ||
    Math.max(
      task.running_ts || 0,
      task.allocated_ts || 0,
      task.error?.ts || 0,
      task.submitted_ts || 0,
    )
  );
}

function taskLink(task) {
  return h(
    "a.mono",
    { href: link(`/tasks/${encodeURIComponent(task.ref)}`), title: task.ref },
    task.id ?? task.ref,
  );
}
