// Light, dark, or what the system says. The choice is kept in this browser.

import { note } from "./dialog.js";

const KEY = "kwq.theme";
const NEXT = { system: "dark", dark: "light", light: "system" };

export function initTheme() {
  apply(localStorage.getItem(KEY) ?? "system");
}

export function nextTheme() {
  const theme = NEXT[localStorage.getItem(KEY) ?? "system"] ?? "dark";
  localStorage.setItem(KEY, theme);
  apply(theme);
  note(`Theme: ${theme}`);
}

function apply(theme) {
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}
