// A real table whose rows are kept by key: a refresh changes the cells that differ and nothing else, so focus, selection
// and scroll survive a live update.

import { fill, h } from "./dom.js";

/**
 * `columns`: `{label, cell(row), sig(row)?, kind?}`; `cell` answers text or a node; a node needs `sig`, the text that
 * tells when it must be made again. `kind`: `num`, `wide`, `acts`, `lead`.
 */
export function table({ caption, columns, key, empty }) {
  const body = h("tbody");
  const note = h("p.empty", { hidden: true }, empty);
  const head = h(
    "thead",
    {},
    h(
      "tr",
      {},
      columns.map((column) => h("th", { scope: "col", class: column.kind }, column.label)),
    ),
  );
  const grid = h("table", {}, h("caption.sr-only", {}, caption), head, body);
  const root = h(
    "div.tablebox",
    {},
    h("div.scroll", { tabindex: "0", role: "group", "aria-label": caption }, grid),
    note,
  );
  const rows = new Map();

  function update(list) {
    const seen = new Set();
    let before = null;
    for (const row of list) {
      const id = key(row);
      if (seen.has(id)) continue;
      seen.add(id);
      let line = rows.get(id);
      if (!line) {
        line = make(columns);
        rows.set(id, line);
      }
      paint(line, columns, row);
      const place = before ? before.nextSibling : body.firstChild;
      if (place !== line.element) body.insertBefore(line.element, place);
      before = line.element;
    }
    for (const [id, line] of rows) {
      if (!seen.has(id)) {
        line.element.remove();
        rows.delete(id);
      }
    }
    grid.hidden = list.length === 0;
    note.hidden = list.length > 0;
  }

  return { root, update };
}

function make(columns) {
  const cells = columns.map((column) => ({
    element: h(column.kind === "lead" ? "th" : "td", {
      class: column.kind,
      "data-label": column.label,
      scope: column.kind === "lead" ? "row" : null,
    }),
    sig: undefined,
  }));
  return {
    element: h(
      "tr",
      {},
      cells.map((cell) => cell.element),
    ),
    cells,
  };
}

function paint(line, columns, row) {
  columns.forEach((column, i) => {
    const cell = line.cells[i];
    const value = column.sig ? null : column.cell(row);
    const sig = column.sig ? column.sig(row) : value;
    if (sig === cell.sig) return;
    cell.sig = sig;
    const focused = cell.element.contains(document.activeElement);
    fill(cell.element, column.sig ? column.cell(row) : value);
    if (focused) cell.element.querySelector("a, button")?.focus();
  });
}
