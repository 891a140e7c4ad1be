// The pulse: `GET /kwq/stats/now` once a second while the page is visible and live. It goes on for ever when the server is
// away, so a restart needs no reload.

import { get, ready, Problem } from "./api.js";
import { askToken } from "./dialog.js";
import { ageMs, changed, store, take } from "./store.js";

const PERIOD_MS = 1_000;
const SERVER_EVERY = 15;

let timer = 0;
let turn = 0;
let inFlight = false;
let asking = false;
let onTick = async () => {};

/** Starts the pulse; `tick(n)` is called after every good answer. */
export function start(tick) {
  onTick = tick;
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) beat();
  });
  beat();
  // The banner must appear even while an answer is outstanding.
  setInterval(() => {
    if (ageMs() > 2_000) changed();
  }, 1_000);
}

/** Live on or off. */
export function toggle() {
  store.paused = !store.paused;
  changed();
  if (!store.paused) beat();
}

/** One pulse now, for instance after an act. */
export async function beat() {
  clearTimeout(timer);
  if (inFlight) return;
  inFlight = true;
  try {
    await pulse();
  } finally {
    inFlight = false;
    if (!document.hidden && !store.paused) timer = setTimeout(beat, PERIOD_MS);
  }
}

async function pulse() {
  try {
    if (!store.connected || turn % SERVER_EVERY === 0) await describe();
    const { data } = await get("/stats/now");
    take(data);
    changed();
    await onTick(turn);
    turn += 1;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    store.connected = false;
    store.error = error;
    changed();
    if (error.status === 401 && !asking) {
      asking = true;
      await askToken();
      asking = false;
    }
  }
}

/** Name, version, durability, safety: of `/kwq` and the ready answer together. */
async function describe() {
  const [about, health] = await Promise.allSettled([get(""), ready()]);
  const server = {};
  if (health.status === "fulfilled") Object.assign(server, health.value);
  if (about.status === "fulfilled") Object.assign(server, about.value.data);
  if (about.status === "fulfilled" || health.status === "fulfilled") store.server = server;
}
