// Line chart of one or more series over time, as SVG. Gaps stay gaps; the readout follows pointer or arrow keys; the same
// numbers are in a table. At most 600 points are drawn: of each bucket its lowest and highest.

import { fill, h, s, setText } from "./dom.js";
import { duration, short, time } from "./format.js";

const HEIGHT = 132;
const LEFT = 44;
const RIGHT = 10;
const TOP = 10;
const BOTTOM = 20;
const POINTS_MAX = 600;
const TABLE_ROWS = 30;

/** `series`: `{id, label, look}`; `look` names a colour. `format` shows a value. */
export function chart({ title, about, series, format = short }) {
  const readings = series.map(() => h("b", {}, "–"));
  const when = h("span.when", {}, "now");
  const svg = s("svg.chart", { role: "img", tabindex: "0", "aria-label": title });
  const rows = h("tbody");
  const twin = h(
    "details.twin",
    {},
    h("summary", {}, "Show as table"),
    h(
      "div.scroll",
      {},
      h(
        "table",
        {},
        h("caption.sr-only", {}, `${title}, latest ${TABLE_ROWS} values`),
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            h("th", { scope: "col" }, "Time"),
            series.map((one) => h("th.num", { scope: "col" }, one.label)),
          ),
        ),
        rows,
      ),
    ),
  );
  const spoken = h("span.sr-only", { "aria-live": "polite" });
  const root = h(
    "figure.chartbox",
    {},
    h(
      "figcaption",
      {},
      h("h3", {}, title),
      when,
      h(
        "span.readings",
        {},
        series.map((one, i) =>
          h(
            "span.reading",
            { class: `ink-${one.look}` },
            h("span.dash", { "aria-hidden": "true" }),
            one.label,
            " ",
            readings[i],
          ),
        ),
      ),
    ),
    svg,
    spoken,
    twin,
  );

  let points = [];
  let cursor = null;
  let width = 0;

  function read(at) {
    const point = points[at ?? points.length - 1];
    series.forEach((one, i) =>
      setText(readings[i], point && point[one.id] !== null ? format(point[one.id]) : "–"),
    );
    const last = points[points.length - 1];
    setText(when, at === null || !point ? "now" : time(point.t, last.t));
  }

  function draw() {
    if (width === 0) return;
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const scale = scales(points, series, width);
    fill(
      svg,
      s("title", {}, about),
      grid(scale, width, format),
      axis(points, scale, width),
      series.map((one, i) => line(thin(points, one.id), one, scale, i === 0)),
      cursor === null || !points[cursor] ? null : crosshair(points[cursor], series, scale),
    );
    read(cursor);
    if (twin.open) tabulate();
  }

  function tabulate() {
    const latest = points.slice(-TABLE_ROWS).reverse();
    fill(
      rows,
      latest.map((point) =>
        h(
          "tr",
          {},
          h("td", {}, time(point.t, latest[0].t)),
          series.map((one) =>
            h("td.num", {}, point[one.id] === null ? "–" : format(point[one.id])),
          ),
        ),
      ),
    );
  }

  function move(to) {
    cursor = to === null ? null : Math.min(points.length - 1, Math.max(0, to));
    draw();
  }

  svg.addEventListener("pointermove", (event) => {
    const x = event.clientX - svg.getBoundingClientRect().left;
    const scale = scales(points, series, width);
    move(nearest(points, scale.t0 + ((x - LEFT) / (width - LEFT - RIGHT)) * (scale.t1 - scale.t0)));
  });
  svg.addEventListener("pointerleave", () => move(null));
  svg.addEventListener("blur", () => move(null));
  svg.addEventListener("keydown", (event) => {
    const from = cursor ?? points.length - 1;
    const to = {
      ArrowLeft: from - 1,
      ArrowRight: from + 1,
      Home: 0,
      End: points.length - 1,
      Escape: null,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    move(to);
    const said = series.map((one, i) => `${one.label} ${readings[i].textContent}`).join(", ");
    setText(spoken, `${when.textContent}: ${said}`);
  });
  twin.addEventListener("toggle", () => {
    if (twin.open) tabulate();
  });
  new ResizeObserver(() => {
    width = Math.round(svg.clientWidth);
    draw();
  }).observe(svg);

  return {
    root,
    update(list) {
      const at = cursor === null ? null : points[cursor]?.t;
      points = list;
      if (at !== null && at !== undefined) cursor = nearest(points, at);
      draw();
    },
  };
}

function scales(points, series, width) {
  const t1 = points.length > 0 ? points[points.length - 1].t : 1;
  const t0 = Math.min(points.length > 0 ? points[0].t : 0, t1 - 30_000);
  let most = 0;
  for (const point of points) for (const one of series) most = Math.max(most, point[one.id] ?? 0);
  const step = niceStep(most);
  const top = Math.max(step, Math.ceil(most / step) * step);
  return {
    t0,
    t1,
    top,
    step,
    x: (t) => LEFT + ((t - t0) / (t1 - t0)) * (width - LEFT - RIGHT),
    y: (v) => TOP + (1 - v / top) * (HEIGHT - TOP - BOTTOM),
  };
}

/** 1, 2 or 5 times a power of ten, so that about three lines are drawn. */
function niceStep(most) {
  if (most <= 0) return 1;
  const rough = most / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
}

function grid(scale, width, format) {
  const lines = [];
  for (let v = 0; v <= scale.top * 1.001; v += scale.step) {
    const y = scale.y(v).toFixed(1);
    lines.push(s("line.gridline", { x1: LEFT, x2: width - RIGHT, y1: y, y2: y }));
    lines.push(
      s(
        "text.tick",
        { x: LEFT - 7, y: Number(y) + 3.5, "text-anchor": "end" },
        format(v).replace("/s", ""),
      ),
    );
  }
  return lines;
}

function axis(points, scale, width) {
  if (points.length === 0)
    return [
      s("text.tick", { x: width / 2, y: HEIGHT / 2, "text-anchor": "middle" }, "waiting for data"),
    ];
  const y = HEIGHT - 5;
  return [
    s("text.tick", { x: LEFT, y }, `${duration(scale.t1 - scale.t0)} ago`),
    s("text.tick", { x: width - RIGHT, y, "text-anchor": "end" }, "now"),
  ];
}

function line(points, one, scale, filled) {
  const runs = [[]];
  for (const [t, v] of points) {
    if (v === null) runs.push([]);
    else runs[runs.length - 1].push([scale.x(t).toFixed(1), scale.y(v).toFixed(1)]);
  }
  return runs
    .filter((run) => run.length > 0)
    .map((run) => {
      const path = `M${run.map((p) => p.join(" ")).join("L")}`;
      const floor = (HEIGHT - BOTTOM).toFixed(1);
      return [
        filled
          ? s("path.area", {
              class: `ink-${one.look}`,
              d: `${path}L${run[run.length - 1][0]} ${floor}L${run[0][0]} ${floor}Z`,
            })
          : null,
        s("path.line", { class: `ink-${one.look}`, d: run.length === 1 ? `${path}h.1` : path }),
      ];
    });
}

function crosshair(point, series, scale) {
  const x = scale.x(point.t).toFixed(1);
  return [
    s("line.cross", { x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM }),
    series
      .filter((one) => point[one.id] !== null)
      .map((one) =>
        s("circle.dot", {
          class: `ink-${one.look}`,
          cx: x,
          cy: scale.y(point[one.id]).toFixed(1),
          r: 3.5,
        }),
      ),
  ];
}

function nearest(points, t) {
  if (points.length === 0) return null;
  let best = 0;
  points.forEach((point, i) => {
    if (Math.abs(point.t - t) < Math.abs(points[best].t - t)) best = i;
  });
  return best;
}

function thin(points, id) {
  if (points.length <= POINTS_MAX) return points.map((point) => [point.t, point[id]]);
  const size = Math.ceil(points.length / (POINTS_MAX / 2));
  const kept = [];
  for (let i = 0; i < points.length; i += size) {
    const bucket = points.slice(i, i + size);
    if (bucket.some((point) => point[id] === null)) kept.push([bucket[0].t, null]);
    const known = bucket.filter((point) => point[id] !== null).sort((a, b) => a[id] - b[id]);
    const ends = known.length > 1 ? [known[0], known[known.length - 1]] : known;
    for (const point of ends.sort((a, b) => a.t - b.t)) kept.push([point.t, point[id]]);
  }
  return kept;
}

/** A small line without axes: the shape of the last minutes, beside its number. */
export function sparkline(values, look) {
  const known = values.filter((v) => v !== null);
  const most = Math.max(...known, 1);
  const step = 100 / Math.max(1, values.length - 1);
  const path = values
    .map((v, i) =>
      v === null
        ? ""
        : `${i === 0 || values[i - 1] === null ? "M" : "L"}${(i * step).toFixed(1)} ${(22 - (v / most) * 20).toFixed(1)}`,
    )
    .join("");
  return s(
    "svg.spark",
    { viewBox: "0 0 100 24", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("path.line", { class: `ink-${look}`, d: path || "M0 22" }),
  );
}
