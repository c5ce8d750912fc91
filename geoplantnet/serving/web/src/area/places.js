// Places the operator mounts: protected areas, communes.
import { announce } from "../announce.js";
import { element } from "../dom.js";
import { t } from "../i18n.js";
import { ServerError, getJson } from "../server.js";
import { rounded } from "./code.js";
import { words } from "./command.js";
import { choices } from "./upload.js";

const TYPING_MS = 200;
const MOST = 20;

// onChosen(geometry, name); -> {node, load(): promise of whether there are any, look(), draw()}
export function createPlaces({ onChosen }) {
  let layers = [];
  let found = null;
  let failure = "";
  let controller = new AbortController();
  let timer = 0;
  const select = Object.assign(element("select"), { id: "area-layer" });
  const input = Object.assign(element("input"), { type: "search", id: "area-place", autocomplete: "off", spellcheck: false });
  const which = words("label", "", () => t("area.places.layer"));
  which.node.htmlFor = select.id;
  const search = words("label", "", () => t("area.places.search"));
  search.node.htmlFor = input.id;
  const status = element("p", "area-status");
  const results = element("div");
  const credit = element("p", "area-hint");
  const node = element("section", "area-section area-places", which.node, select, search.node, input, status, results, credit);
  node.hidden = true;
  select.addEventListener("change", look);
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(look, TYPING_MS);
  });

  async function load() {
    layers = (await getJson("./api/places")).places;
    select.replaceChildren(...layers.map(({ id, title, count }) => new Option(`${title} (${count})`, id)));
    return layers.length > 0;
  }

  async function look() {
    controller.abort();
    controller = new AbortController();
    const { signal } = controller;
    credit.textContent = layers.find(({ id }) => id === select.value)?.attribution ?? "";
    try {
      found = (await getJson(`./api/places/${encodeURIComponent(select.value)}?q=${encodeURIComponent(input.value)}&limit=${MOST}`, { signal })).features;
      failure = "";
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ServerError)) throw error;
      found = null;
      failure = error.message;
    }
    draw();
    announce(status.textContent);
  }

  async function take({ id, name }) {
    try {
      const feature = await getJson(`./api/places/${encodeURIComponent(select.value)}/${encodeURIComponent(id)}`);
      onChosen(rounded(feature.geometry), name);
    } catch (error) {
      if (!(error instanceof ServerError)) throw error;
      failure = error.message;
      draw();
      announce(failure);
    }
  }

  function draw() {
    status.classList.toggle("failed", Boolean(failure));
    status.textContent = failure || (found === null ? "" : found.length ? t("area.places.found", { n: found.length }) : t("area.places.none", { query: input.value }));
    results.replaceChildren(...(found?.length ? [choices(found.map((one) => [one.name, one.km2, () => take(one)]))] : []));
  }

  return { node, select, load, look, draw };
}
