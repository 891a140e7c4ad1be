// What the page knows: the latest snapshot, the history of this session, the state of the connection. Written by
// `live.js`, read by all.

const POINTS_MAX = 3_600;
const listeners = new Set();

export const store = {
  snapshot: null,
  /** `performance.now()` at the arrival of the snapshot. */
  arrived: 0,
  /** `{t, pending, running, complete, submit}`; numbers or null for a gap. */
  history: [],
  connected: false,
  error: null,
  paused: false,
  server: null,
};

/** Calls `f` after every change; returns how to stop. */
export function subscribe(f) {
  listeners.add(f);
  return () => listeners.delete(f);
}

export function changed() {
  for (const f of listeners) f(store);
}

/** The server's clock: its latest stamp plus the time since. The browser's own clock is never compared with it. */
export function serverNow() {
  return store.snapshot ? store.snapshot.ts + (performance.now() - store.arrived) : Date.now();
}

/** Milliseconds since the latest snapshot. */
export function ageMs() {
  return store.snapshot ? performance.now() - store.arrived : Infinity;
}

export function take(snapshot) {
  const gap = store.snapshot !== null && snapshot.ts - store.snapshot.ts > 4_000;
  if (gap)
    store.history.push({
      t: snapshot.ts - 1,
      pending: null,
      running: null,
      complete: null,
      submit: null,
    });
  store.snapshot = snapshot;
  store.arrived = performance.now();
  store.connected = true;
  store.error = null;
  const tasks = snapshot.tasks ?? {};
  store.history.push({
    t: snapshot.ts,
    pending: (tasks.PENDING ?? 0) + (tasks.DELAYED ?? 0) + (tasks.BLOCKED ?? 0),
    running: (tasks.RUNNING ?? 0) + (tasks.ALLOCATED ?? 0),
    complete: snapshot.rates?.complete ?? 0,
    submit: snapshot.rates?.submit ?? 0,
  });
  if (store.history.length > POINTS_MAX) store.history.splice(0, store.history.length - POINTS_MAX);
}
