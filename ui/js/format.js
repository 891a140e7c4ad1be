// Numbers, times and sizes as people read them. Pure functions; "now" is always an argument.

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});
const dated = new Intl.DateTimeFormat("en-GB", {
  day: "2-digit",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});
const exact = new Intl.DateTimeFormat("en-GB", {
  year: "numeric",
  month: "short",
  day: "2-digit",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  fractionalSecondDigits: 3,
});
const NONE = "–";

/** 1,234,567 */
export function full(n) {
  return Number.isFinite(n) ? whole.format(n) : NONE;
}

/** 950 · 12,340 · 1.23 M */
export function count(n) {
  if (!Number.isFinite(n)) return NONE;
  return Math.abs(n) < 100_000 ? whole.format(n) : scaled(n);
}

/** 950 · 12.3 k · 1.23 M, for axes and small places */
export function short(n) {
  if (!Number.isFinite(n)) return NONE;
  if (Math.abs(n) < 1_000) return Number.isInteger(n) ? String(n) : significant(n);
  return scaled(n);
}

/** 2,310/s · 0.4/s · 12/min */
export function rate(perSecond) {
  if (!Number.isFinite(perSecond)) return NONE;
  if (perSecond === 0) return "0/s";
  if (perSecond < 0.1) return `${significant(perSecond * 60)}/min`;
  return `${perSecond < 10_000 ? (perSecond < 100 ? significant(perSecond) : whole.format(perSecond)) : scaled(perSecond)}/s`;
}

/** 340 ms · 4.2 s · 3 min 20 s · 2 h 5 min · 3 d 4 h */
export function duration(ms) {
  if (!Number.isFinite(ms)) return NONE;
  const n = Math.max(0, ms);
  if (n < 1_000) return `${Math.round(n)} ms`;
  if (n < 9_950) return `${(n / 1_000).toFixed(1)} s`;
  const seconds = Math.round(n / 1_000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3_600) return two(seconds, 60, "min", 1, "s");
  if (seconds < 86_400) return two(Math.round(seconds / 60), 60, "h", 1, "min");
  return two(Math.round(seconds / 3_600), 24, "d", 1, "h");
}

/** "3 s ago"; an unset stamp (0 or absent) is a dash. */
export function ago(ts, now) {
  if (!ts) return NONE;
  const ms = now - ts;
  return ms < 1_000 ? "just now" : `${duration(ms)} ago`;
}

/** "in 9 min" */
export function until(ts, now) {
  if (!ts) return NONE;
  return ts - now < 500 ? "now" : `in ${duration(ts - now)}`;
}

/** Time of day, with the date unless it is of the last 20 hours. */
export function time(ts, now) {
  if (!ts) return NONE;
  return (Math.abs(now - ts) < 72_000_000 ? clock : dated).format(ts);
}

/** Date and time to the millisecond. */
export function stamp(ts) {
  return ts ? exact.format(ts) : NONE;
}

/** 93 % */
export function percent(ratio) {
  if (!Number.isFinite(ratio)) return NONE;
  const p = ratio * 100;
  if (p > 99 && p < 100) return `${(Math.floor(p * 10) / 10).toFixed(1)} %`;
  if (p > 0 && p < 1) return `${Math.max(0.1, p).toFixed(1)} %`;
  return `${Math.round(p)} %`;
}

/** 18 B · 4.1 KiB */
export function bytes(n) {
  if (!Number.isFinite(n)) return NONE;
  if (n < 1_024) return `${n} B`;
  if (n < 1_048_576) return `${(n / 1_024).toFixed(1)} KiB`;
  return `${(n / 1_048_576).toFixed(1)} MiB`;
}

function scaled(n) {
  const size = Math.abs(n);
  if (size >= 999.5e6) return `${significant(n / 1e9)} G`;
  if (size >= 999.5e3) return `${significant(n / 1e6)} M`;
  return `${significant(n / 1e3)} k`;
}

function significant(n) {
  const size = Math.abs(n);
  if (size >= 99.95) return n.toFixed(0);
  return Number(n.toFixed(size >= 9.995 ? 1 : 2)).toString();
}

function two(n, per, big, unit, small) {
  const rest = n % per;
  return rest === 0
    ? `${(n - rest) / per} ${big}`
    : `${(n - rest) / per} ${big} ${rest * unit} ${small}`;
}
