// Hash routes: `#/jobs/eod%2Frisk?state=OPEN` → page, path parts, query. The address is the whole state of a page.

const routes = [];

/** Adds a page: pattern like `/jobs/:job`. */
export function route(pattern, page) {
  routes.push({ parts: pattern.split("/").filter(Boolean), page });
}

/** The page of the present address: `{page, params, query, path}`. */
export function current() {
  const raw = location.hash.replace(/^#/, "") || "/";
  const [path, search = ""] = raw.split("?", 2);
  const parts = path.split("/").filter(Boolean);
  for (const { parts: wanted, page } of routes) {
    const params = match(wanted, parts);
    if (params) return { page, params, query: new URLSearchParams(search), path };
  }
  return { page: null, params: {}, query: new URLSearchParams(), path };
}

/** Address of a page. */
export function link(path, query) {
  const pairs = new URLSearchParams();
  for (const [key, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== null && value !== "") pairs.append(key, value);
  }
  const text = pairs.toString();
  return `#${path}${text === "" ? "" : `?${text}`}`;
}

export function go(address) {
  location.hash = address.replace(/^#/, "");
}

function match(wanted, parts) {
  if (wanted.length !== parts.length) return null;
  const params = {};
  for (let i = 0; i < wanted.length; i += 1) {
    if (wanted[i].startsWith(":")) {
      try {
        params[wanted[i].slice(1)] = decodeURIComponent(parts[i]);
      } catch {
        return null;
      }
    } else if (wanted[i] !== parts[i]) {
      return null;
    }
  }
  return params;
}
