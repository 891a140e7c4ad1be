// A row of filters whose values live in the address.

import { h } from "../../dom.js";
import { go, link } from "../../router.js";

/** `fields`: `{name, label, options?}`. Values are read from the address; changing one changes the address. */
export function filterBar(path, query, fields) {
  const inputs = fields.map((field) => [field, control(field, query.get(field.name) ?? "")]);
  function values() {
    return Object.fromEntries(inputs.map(([field, input]) => [field.name, input.value.trim()]));
  }
  function apply() {
    const address = link(path, values());
    if (address !== location.hash) go(address);
  }
  const clear = h("a.button", { href: link(path), class: "small" }, "Clear");
  clear.hidden = fields.every((field) => !query.get(field.name));
  const root = h(
    "form.filters",
    {
      role: "search",
      on: {
        submit: (event) => {
          event.preventDefault();
          apply();
        },
      },
    },
    inputs.map(([field, input]) => h("label.field", {}, h("span", {}, field.label), input)),
    h("button.button.small", { type: "submit" }, "Apply"),
    clear,
  );
  for (const [, input] of inputs) input.addEventListener("change", apply);
  return { root, values };
}

function control(field, value) {
  if (!field.options)
    return h("input", { type: "search", value, autocomplete: "off", spellcheck: "false" });
  const known = field.options.some(([option]) => option === value);
  const options = known ? field.options : [...field.options, [value, value.toLowerCase()]];
  return h(
    "select",
    {},
    options.map(([option, label]) =>
      h("option", { value: option, selected: option === value }, label),
    ),
  );
}
