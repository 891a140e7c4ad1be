// Cursor paging: the first page is live, the others stand still.

import { Problem } from "../../api.js";
import { button, h, setText } from "../../dom.js";
import { count } from "../../format.js";

/** `load(cursor)` answers `{data, next, scanned}`; `show(rows)` draws. */
export function pager(load, show) {
  const trail = [];
  let next = null;
  const first = button("Back to the first page", () => jump(null), {
    class: "small",
    hidden: true,
  });
  const more = button("Next page", () => jump(next), { class: "small", hidden: true });
  const said = h("span.faint");
  const note = h("p.problem", { role: "alert", hidden: true });

  async function jump(cursor) {
    if (cursor === null) trail.length = 0;
    else trail.push(cursor);
    await fetchPage();
  }

  async function fetchPage() {
    try {
      const page = await load(trail[trail.length - 1]);
      note.hidden = true;
      next = page.next;
      show(page.data ?? []);
      first.hidden = trail.length === 0;
      more.hidden = !next;
      setText(
        said,
        trail.length > 0
          ? `Page ${trail.length + 1}, not live`
          : page.scanned > 0 && next
            ? `${count(page.scanned)} looked at`
            : "",
      );
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.status === 0) return;
      note.hidden = false;
      setText(note, error.message);
      if (error.code === "bad_cursor") trail.length = 0;
    }
  }

  return {
    root: h("div.pager", {}, first, more, said),
    note,
    async refresh() {
      if (trail.length === 0) await fetchPage();
    },
  };
}
