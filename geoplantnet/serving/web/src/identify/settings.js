// The key, the flora, the language's and the page's looks, and the net kept on this device.
import { announce } from "../announce.js";
import { button, element } from "../dom.js";
import { date, number, t } from "../i18n.js";
import { link } from "./answer.js";
import { projects } from "./api.js";
import { offers } from "./config.js";
import { forget, keep, keeping, keptModel, onKeeping, stopKeeping } from "./offline/engine.js";
import { checkbox, choices, field, loading, notice } from "./parts.js";
import { prefs } from "./prefs.js";
/* global ENGINE_BYTES */

export function showSettings(root, { signal }) {
  root.append(element("h1", "", t("settings.title")), account(), flora(signal), offline(signal), looks());
  return t("settings.title");
}

function account() {
  const input = Object.assign(element("input"), { type: "password", value: prefs.get().key, autocomplete: "off", spellcheck: false });
  const show = checkbox(t("settings.show-key"), false, (on) => (input.type = on ? "text" : "password"));
  const told = element("p", "small");
  told.setAttribute("role", "status");
  const save = () => {
    prefs.set({ key: input.value.trim() });
    told.textContent = t(prefs.get().key ? "settings.key-kept" : "settings.key-gone");
  };
  input.addEventListener("input", save); // not on leaving the field: a page may be left at once
  const form = element("form", "stack", field(t("settings.key"), input, t("settings.key-help")), show, told); // Enter, and keepers of passwords, know a form
  form.addEventListener("submit", (event) => event.preventDefault());
  return element("section", "card", element("h2", "", t("settings.account")), form, offers().store ? element("p", "", link("#own", t("own.title"), "")) : null);
}

function flora(signal) {
  const box = element("section", "card", element("h2", "", t("settings.flora")));
  const body = element("div");
  box.append(body);
  loading(body, {
    signal,
    load: () => projects(null, { signal }),
    draw: (found) => {
      const options = found.map((one) => [one.id, Number.isFinite(one.speciesCount) ? t("settings.flora-of", { title: one.title, n: one.speciesCount }) : one.title]);
      if (!options.some(([id]) => id === "all")) options.unshift(["all", t("settings.flora-all")]);
      const { project } = prefs.get();
      if (!options.some(([id]) => id === project)) prefs.set({ project: "all" }); // a flora that this server no longer has
      body.append(field(t("settings.flora-label"), choices(options, prefs.get().project, (id) => prefs.set({ project: id })), t("settings.flora-help")));
    },
  });
  return box;
}

function offline(signal) {
  const box = element("section", "card", element("h2", "", t("settings.offline")));
  const body = element("div", "stack");
  box.append(body, checkbox(t("settings.send-waiting"), prefs.get().sendWaiting, (on) => prefs.set({ sendWaiting: on })));
  let bar = null;
  let told = null;
  onKeeping((state) => (state.ended ? end(state.ended) : progress(state)), signal);
  if (keeping()) progress(keeping());
  else draw();
  return box;

  async function draw(complaint = null) {
    const kept = await keptModel();
    if (signal.aborted) return;
    bar = null;
    const { model } = offers();
    const parts = [];
    if (kept) {
      parts.push(element("p", "", t("settings.kept", { version: kept.version, size: megabytes(kept.bytes), date: date(kept.at, "medium") })));
      if (model && model.version !== kept.version) parts.push(notice("mind", t("settings.newer", { version: model.version })));
    } else {
      parts.push(element("p", "", t(model ? "settings.offline-why" : "settings.no-model")));
    }
    const row = element("div", "row wrap");
    if (model && model.version !== kept?.version) row.append(button("strong", t("settings.keep", { size: megabytes(model.size + ENGINE_BYTES) }), fetchIt));
    if (kept) row.append(button("", t("settings.forget"), remove));
    body.replaceChildren(...(complaint ? [complaint] : []), ...parts, row);
  }

  function progress({ bytes, total }) {
    if (!bar) {
      bar = element("progress");
      bar.max = 1;
      bar.setAttribute("aria-label", t("settings.keeping"));
      told = element("p", "small");
      body.replaceChildren(bar, told, button("small", t("cancel"), stopKeeping));
    }
    bar.value = Math.min(1, bytes / total);
    told.textContent = bytes ? t("settings.fetched", { done: megabytes(bytes), size: megabytes(total) }) : t("settings.keeping");
  }

  async function fetchIt() {
    if ((await keep(offers().model.size)) === "ready") announce(t("settings.ready"));
  }

  function end(how) {
    if (how === "stopped") return draw();
    if (how === "ready") return draw(notice("good", t("settings.ready")));
    const box = notice("bad", t(`settings.failed-${how}`));
    box.setAttribute("role", "alert");
    return draw(box);
  }

  async function remove() {
    await forget();
    announce(t("settings.forgotten"));
    await draw(notice("good", t("settings.forgotten")));
  }
}

const megabytes = (bytes) => t("settings.megabytes", { size: number(bytes / 1e6, 1) });

function looks() {
  const themes = ["auto", "light", "dark"].map((name) => [name, t(`theme.${name}`)]);
  return element("section", "card", element("h2", "", t("settings.looks")), field(t("settings.theme"), choices(themes, prefs.get().theme, (theme) => prefs.set({ theme }))));
}
