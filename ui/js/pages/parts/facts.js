// Names and values side by side.

import { h, setText } from "../../dom.js";

export function facts(label) {
  const root = h("dl.facts", { "aria-label": label });
  const known = new Map();
  return {
    root,
    /** `[[name, text], …]`; rows keep their place, texts change. */
    update(rows) {
      const names = rows.map(([name]) => name);
      for (const [name, row] of known) {
        if (!names.includes(name)) {
          row.box.remove();
          known.delete(name);
        }
      }
      for (const [name, text] of rows) {
        let row = known.get(name);
        if (!row) {
          const value = h("dd");
          row = { value, box: h("div.fact", {}, h("dt", {}, name), value) };
          known.set(name, row);
          root.appendChild(row.box);
        }
        setText(row.value, text);
      }
    },
  };
}
