// The only place that makes elements. Text is always a text node; no caller can reach markup, a handler attribute, an
// inline style or a foreign address through here.

const SAFE_LINK = /^(#|\.?\/|\.\.\/|[a-z0-9_-]+\.svg$)/i;
// Taken from the page, so that no address needs to be written here.
const SVG_NAMESPACE = document.querySelector("svg").namespaceURI;

/** An element: `h("a.link", {href: "#/"}, "text", child, …)`; `on: {click: f}` adds listeners. */
export function h(spec, props, ...children) {
  return build(document.createElement(tagOf(spec)), spec, props, children);
}

/** An SVG element, same arguments. */
export function s(spec, props, ...children) {
  return build(document.createElementNS(SVG_NAMESPACE, tagOf(spec)), spec, props, children);
}

/** Puts children in place of the old ones. */
export function fill(parent, ...children) {
  const fragment = document.createDocumentFragment();
  append(fragment, children);
  parent.replaceChildren(fragment);
  return parent;
}

/** Changes the text of an element only when it differs, so that selection and focus survive. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets or removes an attribute, only when it differs. */
export function setAttribute(element, name, value) {
  guard(name, value);
  if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
    return;
  }
  const text = value === true ? "" : String(value);
  if (element.getAttribute(name) !== text) element.setAttribute(name, text);
}

/** An icon of the sprite in `index.html`. */
export function icon(name) {
  return s("svg.icon", { "aria-hidden": "true" }, s("use", { href: `#i-${name}` }));
}

/** A button. */
export function button(label, onClick, props = {}) {
  return h("button.button", { type: "button", ...props, on: { click: onClick } }, label);
}

function tagOf(spec) {
  return spec.split(".", 1)[0];
}

function build(element, spec, props, children) {
  const classes = spec.split(".").slice(1);
  if (classes.length > 0) element.setAttribute("class", classes.join(" "));
  for (const [name, value] of Object.entries(props ?? {})) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value))
        element.addEventListener(event, listener);
    } else if (name === "class") {
      if (value) element.setAttribute("class", [...classes, value].join(" "));
    } else {
      setAttribute(element, name, value);
    }
  }
  append(element, children);
  return element;
}

function append(parent, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(parent, child);
    else if (child instanceof Node) parent.appendChild(child);
    else parent.appendChild(document.createTextNode(String(child)));
  }
}

function guard(name, value) {
  if (/^on/i.test(name) || /^(style|srcdoc|action|formaction)$/i.test(name))
    throw new Error(`attribute ${name}`);
  if (/^(href|src|xlink:href)$/i.test(name) && !SAFE_LINK.test(String(value)))
    throw new Error("foreign link");
}
