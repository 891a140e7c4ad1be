// Questions and notes: modal dialogs that give the focus back, short notes in a corner.

import { setToken } from "./api.js";
import { button, h } from "./dom.js";
import { full } from "./format.js";

const TYPED_ABOVE = 10_000;

/**
 * Asks before an act. `{title, text, act, danger, tasks, word, fields}`; above 10,000 tasks `word` must be typed.
 * Resolves to null or to `{name: value}` of the fields.
 */
export function confirm({ title, text, act, danger, tasks = 0, word = "", fields = [] }) {
  return new Promise((resolve) => {
    const inputs = new Map(fields.map((field) => [field.name, control(field)]));
    const typed =
      tasks > TYPED_ABOVE
        ? h("input", { type: "text", autocomplete: "off", spellcheck: "false" })
        : null;
    const yes = h(
      "button.button",
      { type: "submit", class: danger ? "danger" : "primary", disabled: typed !== null },
      act,
    );
    typed?.addEventListener("input", () => {
      yes.disabled = typed.value !== word;
    });
    const form = h(
      "form",
      { method: "dialog" },
      h("h2", {}, title),
      h("p", {}, text),
      tasks > 0
        ? h("p.hit", {}, `It reaches ${full(tasks)} ${tasks === 1 ? "task" : "tasks"}.`)
        : null,
      fields.map((field) =>
        h("label.field", {}, h("span", {}, field.label), inputs.get(field.name)),
      ),
      typed
        ? h("label.field", {}, h("span", {}, "Type ", h("code", {}, word), " to go on"), typed)
        : null,
      h(
        "div.dialog-acts",
        {},
        button("Keep as it is", () => dialog.close("no")),
        yes,
      ),
    );
    const dialog = open(form, () => {
      const values = Object.fromEntries([...inputs].map(([name, input]) => [name, input.value]));
      resolve(dialog.returnValue === "yes" ? values : null);
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      dialog.close("yes");
    });
  });
}

/** Asks for the access token once. */
export function askToken() {
  return new Promise((resolve) => {
    const input = h("input", { type: "password", autocomplete: "off", required: true });
    const form = h(
      "form",
      { method: "dialog" },
      h("h2", {}, "Access token"),
      h("p", {}, "This server wants a token. It is kept in this tab until you close it."),
      h("label.field", {}, h("span", {}, "Token"), input),
      h("div.dialog-acts", {}, h("button.button", { type: "submit", class: "primary" }, "Sign in")),
    );
    const dialog = open(form, resolve);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      setToken(input.value.trim());
      dialog.close("yes");
    });
  });
}

/** Lists keys, or anything else. */
export function tell(title, ...content) {
  const dialog = open(
    h(
      "div",
      {},
      h("h2", {}, title),
      content,
      h(
        "div.dialog-acts",
        {},
        button("Close", () => dialog.close(), { class: "primary" }),
      ),
    ),
    () => {},
  );
}

/** A short note: what happened, or what was refused. */
export function note(text, bad = false) {
  const box = h(
    "div.toast",
    { class: bad ? "bad" : "good" },
    h("span", { "aria-hidden": "true" }, bad ? "✕" : "✓"),
    h("span", {}, text),
  );
  document.getElementById("toasts").appendChild(box);
  setTimeout(() => box.remove(), bad ? 8_000 : 4_000);
}

function control(field) {
  if (!field.options)
    return h("input", { type: "text", maxlength: "256", value: field.value ?? "" });
  return h(
    "select",
    {},
    field.options.map(([value, label]) => h("option", { value }, label)),
  );
}

function open(content, closed) {
  const dialog = h("dialog", {}, content);
  const back = document.activeElement;
  document.body.appendChild(dialog);
  dialog.setAttribute("aria-label", content.querySelector("h2").textContent);
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (back instanceof HTMLElement && back.isConnected) back.focus();
    closed();
  });
  dialog.showModal();
  return dialog;
}
