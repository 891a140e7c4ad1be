// What people do to jobs, levels and tasks: each asks first, says what it reaches, and reports what the server said.

import { part, post, Problem } from "./api.js";
import { confirm, note } from "./dialog.js";
import { button } from "./dom.js";
import { beat } from "./live.js";

const ENDED = new Set(["COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCELLED"]);

/** Text that tells when the buttons of a job must be made again. */
export function jobActsSig(job) {
  return `${job.state} ${job.paused}`;
}

/** Buttons of a job, those only that its state allows. */
export function jobActs(job, latest = () => job) {
  if (ENDED.has(job.state)) return [];
  const path = `/jobs/${part(job.id)}`;
  const plain = (label, verb, said) =>
    button(label, () => act(`${path}/${verb}`, {}, said), {
      class: "small",
      "aria-label": `${label} job ${job.id}`,
    });
  return [
    job.paused
      ? plain("Resume", "resume", `Job ${job.id} goes on`)
      : plain("Pause", "pause", `Job ${job.id} is paused; running tasks finish`),
    job.state === "OPEN"
      ? button("Close", () => closeJob(job.id), {
          class: "small",
          "aria-label": `Close job ${job.id}`,
        })
      : null,
    button("Cancel", () => cancelJob(latest()), {
      class: "small quiet-danger",
      "aria-label": `Cancel job ${job.id}`,
    }),
  ];
}

/** Pause or resume of a level, 1…9 or `all`. */
export function levelAct(level, paused) {
  const name = level === "all" ? "all levels" : `level ${level}`;
  return button(
    paused ? "Resume" : "Pause",
    () =>
      act(
        `/queues/${level}/${paused ? "resume" : "pause"}`,
        {},
        paused ? `Hand-outs of ${name} go on` : `Hand-outs of ${name} are paused`,
      ),
    { class: "small", "aria-label": `${paused ? "Resume" : "Pause"} ${name}` },
  );
}

/** Buttons of a task. */
export function taskActs(task) {
  const path = `/tasks/${part(task.ref)}`;
  const live = ["PENDING", "DELAYED", "BLOCKED", "ALLOCATED", "RUNNING"].includes(task.state);
  return [
    live
      ? button(
          "Cancel",
          async () => {
            const answer = await confirm({
              title: `Cancel task ${task.id ?? task.ref}?`,
              act: "Cancel the task",
              danger: true,
              tasks: 1,
              text: "A worker that holds it is told at its next heartbeat. A cancelled task is never run again.",
              fields: [{ name: "reason", label: "Reason (kept with the task)" }],
            });
            if (answer) await act(`${path}/cancel`, reason(answer), "The task is cancelled");
          },
          { class: "small quiet-danger" },
        )
      : null,
    task.state === "ERROR"
      ? button("Retry", () => act(`${path}/retry`, {}, "The task is back in its queue"), {
          class: "small",
        })
      : null,
  ];
}

async function closeJob(id) {
  const answer = await confirm({
    title: `Close job ${id}?`,
    act: "Close the job",
    text: "No task can be added any more. The job ends when its last task has ended.",
  });
  if (answer) await act(`/jobs/${part(id)}/close`, {}, `Job ${id} is closed`);
}

async function cancelJob(job) {
  const answer = await confirm({
    title: `Cancel job ${job.id}?`,
    act: "Cancel the job",
    danger: true,
    tasks: job.live ?? 0,
    word: job.id,
    text: "Waiting tasks are cancelled at once. This cannot be undone.",
    fields: [
      {
        name: "mode",
        label: "Running tasks",
        options: [
          ["stop", "stop them"],
          ["drop-queued", "let them finish"],
        ],
      },
      { name: "reason", label: "Reason (kept with the job)" },
    ],
  });
  if (answer)
    await act(
      `/jobs/${part(job.id)}/cancel`,
      { mode: answer.mode, ...reason(answer) },
      `Job ${job.id} is cancelled`,
    );
}

function reason(answer) {
  const text = answer.reason.trim();
  return text === "" ? {} : { reason: text };
}

async function act(path, body, said) {
  try {
    await post(path, body);
    note(said);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    note(`Not done: ${error.message}`, true);
  }
  await beat();
}
