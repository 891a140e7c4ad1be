// Keyboard: `g` and a letter go to a page, single keys for the frame. No key alone changes anything on the server.

import { tell } from "./dialog.js";
import { h } from "./dom.js";
import { toggle } from "./live.js";
import { go } from "./router.js";
import { nextTheme } from "./theme.js";

const GO = { o: "/", q: "/queues", j: "/jobs", t: "/tasks", d: "/dlq", w: "/workers" };
const LIST = [
  ["g then o q j t d w", "overview, queues, jobs, tasks, dead letters, workers"],
  ["/", "first filter of the page"],
  ["j k", "next, previous row"],
  ["Enter", "open the row"],
  ["← → Home End", "move along a focused chart"],
  ["r", "live on or off"],
  ["t", "theme"],
  ["Esc", "back"],
  ["?", "this list"],
];

let prefix = false;

export function listenKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]"))
      return;
    if (event.target.closest?.("input, select, textarea")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (press(event.key)) event.preventDefault();
  });
}

export function showKeys() {
  tell(
    "Keys",
    h(
      "dl.keys",
      {},
      LIST.map(([key, text]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, text)]),
    ),
  );
}

function press(key) {
  if (prefix) {
    prefix = false;
    if (GO[key]) go(GO[key]);
    return Boolean(GO[key]);
  }
  if (key === "g") prefix = true;
  else if (key === "/") document.querySelector("main input, main select")?.focus();
  else if (key === "j") step(1);
  else if (key === "k") step(-1);
  else if (key === "r") toggle();
  else if (key === "t") nextTheme();
  else if (key === "?") showKeys();
  else if (key === "Escape" && !document.activeElement?.closest("svg.chart")) history.back();
  else return false;
  return true;
}

/** Moves the focus to the first link of the next or previous row. */
function step(by) {
  const rows = [...document.querySelectorAll("main tbody tr")].filter((row) =>
    row.querySelector("a, button"),
  );
  const at = rows.findIndex((row) => row.contains(document.activeElement));
  const to = at < 0 ? 0 : Math.min(rows.length - 1, Math.max(0, at + by));
  rows[to]?.querySelector("a, button").focus();
}
