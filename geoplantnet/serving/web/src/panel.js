// The tabs Layers | Here | Area (ARIA APG, tabs with automatic activation).
import { t } from "./i18n.js";
import { state } from "./state.js";

const tabs = new Map(); // id -> {tab, element}

// element: what the tab shows; it becomes the tabpanel. title: a key of the strings.
export function registerPanel({ id, title, element }) {
  const list = document.getElementById("tabs");
  const tab = document.createElement("button");
  Object.assign(tab, { type: "button", id: `tab-${id}`, className: "tab", textContent: t(title) });
  tab.dataset.t = title;
  tab.setAttribute("role", "tab");
  tab.setAttribute("aria-controls", element.id);
  tab.addEventListener("click", () => showPanel(id));
  list.append(tab);
  element.setAttribute("role", "tabpanel");
  element.setAttribute("aria-labelledby", tab.id);
  element.tabIndex = -1;
  tabs.set(id, { tab, element });
  if (tabs.size === 1) {
    list.addEventListener("keydown", walk);
    state.on((now, before) => now.tab !== before.tab && paint(now.tab));
  }
  paint(state.get().tab);
}

export function showPanel(id) {
  state.set({ tab: id });
  document.dispatchEvent(new CustomEvent("panel-shown", { detail: id }));
}

function paint(active) {
  for (const [id, { tab, element }] of tabs) {
    tab.setAttribute("aria-selected", String(id === active));
    tab.tabIndex = id === active ? 0 : -1;
    element.hidden = id !== active;
  }
}

function walk(event) {
  const ids = [...tabs.keys()];
  const step = { ArrowRight: 1, ArrowLeft: -1, Home: -ids.length, End: ids.length }[event.key];
  if (!step) return;
  event.preventDefault();
  const from = ids.indexOf(state.get().tab);
  const to = Math.abs(step) === 1 ? (from + step + ids.length) % ids.length : step < 0 ? 0 : ids.length - 1;
  showPanel(ids[to]);
  tabs.get(ids[to]).tab.focus();
}
