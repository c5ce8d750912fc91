// What the reader chose, kept on this device only.

const KEY = "geoplantnet-identify";
const DEFAULTS = { lang: null, theme: "auto", key: "", project: "all", sendWaiting: true, author: "", licence: "" };

let chosen = { ...DEFAULTS };
const listeners = [];

try {
  chosen = { ...DEFAULTS, ...JSON.parse(localStorage.getItem(KEY) ?? "{}") };
} catch {
  // a browser that keeps nothing, or something else under the name: the choices last as long as the page
}

export const prefs = {
  get: () => chosen,
  set(changes) {
    const before = chosen;
    chosen = { ...chosen, ...changes };
    try {
      localStorage.setItem(KEY, JSON.stringify(chosen));
    } catch {
      // as above
    }
    for (const listener of listeners) listener(chosen, before);
  },
  on: (listener) => listeners.push(listener),
};
