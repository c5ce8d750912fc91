// The page: fetch the catalog, then map, legend and panel follow the state.
import { announce } from "./announce.js";
import { createArea } from "./area/index.js";
import { APPLICABILITY, RELIEF, fetchCatalog } from "./catalog.js";
import { at, element } from "./dom.js";
import { told } from "./format.js";
import { createHere } from "./here.js";
import { date, lang, onLanguage, preferred, setLanguage, t, teach } from "./i18n.js";
import { createLayers, skeleton } from "./layers.js";
import { createLegend, styleOf } from "./legend.js";
import { createMap } from "./map.js";
import { registerPanel } from "./panel.js";
import { ServerError } from "./server.js";
import { createSheet } from "./sheet.js";
import { state } from "./state.js";
import areaEn from "./strings/area.en.js";
import areaFr from "./strings/area.fr.js";
import en from "./strings/en.js";
import fr from "./strings/fr.js";
import { createSwipe } from "./swipe.js";
import { startTheme } from "./theme.js";

const SETTLE = 120; // milliseconds: arrow keys run through a list, only the layer one rests on is drawn

const narrow = window.matchMedia("(max-width: 767px)"); // as in style.css

let catalog = null;
let legend = null;
let layers = null;
let here = null;
let swipe = null;
let sheet = null;
let drawing = 0;
let remark = null; // what is to be said of the link once its layer is shown
let touched = false; // by the reader: until then the centre of the link stays the centre, however the panels grow
let fetching = new AbortController();

teach({ en: { ...en, ...areaEn }, fr: { ...fr, ...areaFr } });
state.readLink();
setLanguage(state.get().lang ?? preferred());
for (const node of document.querySelectorAll("[data-lang]")) {
  const paint = () => node.setAttribute("aria-pressed", String(node.dataset.lang === lang()));
  node.addEventListener("click", () => state.set({ lang: node.dataset.lang }));
  onLanguage(paint);
  paint();
}
registerPanel({ id: "layers", title: "tab.layers", element: at("layers-panel") });
registerPanel({ id: "here", title: "tab.here", element: at("here-panel") });
registerPanel({ id: "area", title: "tab.area", element: at("area-panel") });

const map = createMap({
  onClick: ask,
  onMove: () => {
    if (catalog) state.set(map.state());
    aim();
  },
  onLoading: (busy) => (at("progress").hidden = !busy),
  onFailure: ({ key, values }, retry) => alertUser(() => t(key, values), retry),
});
map.ol.on("postrender", aim);
startTheme(map.dress);
sheet = createSheet(narrow, makeRoom);
createArea({ map, state, panel: at("area-panel") });
state.on(follow);
start();

async function start() {
  at("layers-panel").replaceChildren(skeleton(8));
  at("legend-body").replaceChildren(skeleton(3));
  try {
    catalog = await fetchCatalog();
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    alertUser(() => error.message, start);
    at("layers-panel").replaceChildren(element("p", "state", error.message));
    at("legend-body").replaceChildren();
    map.setBasemap({ kind: "natural-earth" });
    return;
  }
  map.setBasemap(catalog.basemap ?? { kind: "natural-earth" });
  onLanguage(name);
  name();
  const first = catalog.first;
  if (!first && !catalog.species?.count) {
    at("layers-panel").replaceChildren(element("div", "state", element("h2", "", t("empty.title")), element("p", "", t("empty.text"))));
    at("legend").hidden = true;
    document.title = catalog.words.title;
    return;
  }
  map.setCatalog(catalog.bounds["EPSG:3035"], catalog.version.slice(0, 8));
  layers = createLayers(catalog, choose);
  legend = createLegend(catalog, narrow);
  swipe = createSwipe(catalog, map, freeWidth);
  here = createHere({
    catalog,
    map,
    choose,
    onRead: (answer) => {
      const now = state.get().layer;
      const one = [...(answer?.indicators ?? []), ...(answer?.habitat ? [answer.habitat] : [])].find((value) => value.layer === now);
      const taxon = answer?.species?.find(({ taxonID }) => `species.${taxonID}` === now);
      legend.mark(now, one?.value ?? taxon?.probability ?? null);
    },
  });
  const { at: centre, zoom } = state.get();
  makeRoom();
  map.fitAll();
  map.go({ at: centre, zoom });
  if (!state.get().layer) state.set({ layer: first?.id ?? null });
  const { scenario } = state.get();
  if (scenario && !catalog.epochs.some((epoch) => epoch.name === scenario)) {
    remark = () => t("link.unknown.scenario", { scenario });
    state.set({ scenario: null });
  }
  follow(state.get(), null);
  new ResizeObserver(makeRoom).observe(at("legend"));
}

// What the publisher says, in the reader's language.
function name() {
  const { title, notice } = catalog.words;
  at("catalog-title").textContent = title;
  at("notice").textContent = notice;
  at("notice").hidden = !notice;
  at("version").textContent = t("foot.version", { version: catalog.version.slice(0, 8) });
}

// What of the state has changed is drawn; before: null draws it all.
function follow(now, before) {
  const changed = (...keys) => !before || keys.some((key) => JSON.stringify(now[key]) !== JSON.stringify(before[key]));
  if (before && changed("lang")) setLanguage(now.lang ?? preferred());
  if (!catalog || !legend) return;
  if (changed("layer")) showLayer();
  if (changed("swipe") && now.swipe && !catalog.known(now.swipe.layer)) fetchRight(now.swipe.layer);
  if (changed("presence", "lambda", "uncertainty", "hatch", "scenario", "opacity", "relief", "swipe")) legend.draw();
  if (changed("presence", "lambda", "uncertainty", "scenario", "relief") || sides(now) !== sides(before)) drawSoon();
  if (changed("hatch", "scenario")) map.setHatch(now.hatch ? catalog.listed.get(APPLICABILITY) : null, scenarioOf(catalog.listed.get(APPLICABILITY), now.scenario));
  if (changed("opacity")) map.setOpacity(now.opacity / 100);
  if (changed("swipe", "scenario")) swipe.draw();
  if (changed("place", "scenario")) here.read();
  if (changed("place") && now.place) {
    sheet.atLeast("half");
    map.reveal(map.coordinate(now.place));
  }
  if (changed("tab")) makeRoom();
}

const sides = (now) => JSON.stringify([now?.swipe?.layer, now?.swipe?.scenario]);

function choose(id) {
  state.set({ layer: id });
}

// Fetch the layer where it is a species, then draw it; an unknown one is told, and another shown.
async function showLayer() {
  const { layer: id } = state.get();
  fetching.abort();
  fetching = new AbortController();
  const { signal } = fetching;
  layers.select(id);
  try {
    if (!catalog.known(id)) legend.wait();
    await catalog.layer(id, { signal });
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof ServerError)) throw error;
    const { first } = catalog;
    if (error.status >= 400 && error.status < 500 && first && first.id !== id) {
      remark = () => t("link.unknown", { layer: id, shown: told(first).title });
      state.set({ layer: first.id });
      return;
    }
    alertUser(() => error.message, showLayer);
    return;
  }
  if (signal.aborted) return;
  layers.say(remark?.() ?? "");
  remark = null;
  layers.select(id);
  legend.draw();
  swipe.draw();
  drawSoon();
}

async function fetchRight(id) {
  try {
    await catalog.layer(id);
    legend.draw();
    swipe.draw();
    drawSoon();
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    state.set({ swipe: null });
    layers.say(error.message);
  }
}

// A scenario is asked for only where the layer has it.
function scenarioOf(layer, scenario) {
  return layer && catalog.epochsOf(layer).some(({ name }) => name === scenario) ? scenario : null;
}

function drawSoon() {
  clearTimeout(drawing);
  drawing = setTimeout(drawNow, SETTLE);
}

function drawNow() {
  const now = state.get();
  const active = catalog.known(now.layer);
  if (!active) return;
  const as = (layer, scenario) => ({ id: layer.id, title: told(layer).title, ...styleOf(layer, now), scenario: scenarioOf(layer, scenario) });
  map.show(as(active, now.scenario));
  const other = now.swipe && catalog.known(now.swipe.layer);
  map.showRight(other ? as(other, now.swipe.scenario) : null);
  swipe.place();
  map.setRelief(now.relief && active.id !== RELIEF ? catalog.listed.get(RELIEF) : null);
  entitle(active);
}

function entitle(active) {
  const { title } = told(active);
  document.title = `${title} · ${catalog.words.title}`;
  const base = catalog.basemap ?? { kind: "natural-earth" };
  const below = base.kind === "natural-earth" ? t("map.countries") : base.attribution;
  at("attribution").textContent = [active.attribution, below].filter(Boolean).join(" · ");
  at("map").setAttribute("aria-label", t("map.label", { layer: title }));
}
onLanguage(() => {
  const active = catalog?.known(state.get().layer);
  if (active) entitle(active);
});

// A place on the map is asked about.
function ask(coordinate) {
  if (here) state.set({ place: map.lonLat(coordinate), tab: "here" });
}

function alertUser(words, retry) {
  at("alert-text").textContent = words();
  at("alert").hidden = false;
  at("alert-retry").onclick = () => {
    dismiss();
    retry();
  };
}

// The button that was pressed goes away: the focus goes on to the map.
function dismiss() {
  at("alert").hidden = true;
  at("map").focus();
}

// The centre of the map is the centre of what the panels leave free.
function makeRoom() {
  document.documentElement.style.setProperty("--sheet", `${at("sheet").getBoundingClientRect().height}px`);
  map.setPadding(room(), !touched);
  swipe?.place();
  aim();
}

// [top, right, bottom, left] px that cards take of the map.
function room() {
  if (document.body.classList.contains("printing")) return [0, 0, 0, 0];
  const head = document.querySelector(".masthead").getBoundingClientRect();
  if (narrow.matches) return [head.bottom, 0, Math.min(innerHeight - at("sheet").getBoundingClientRect().top, innerHeight * 0.6), 0];
  const legendBox = at("legend").getBoundingClientRect();
  return [0, innerWidth >= 1100 && legendBox.width ? innerWidth - legendBox.left : 0, 0, head.right];
}

function freeWidth() {
  const [, right, , left] = room();
  return { left, width: innerWidth - left - right };
}

function aim() {
  const pixel = map.centrePixel();
  if (pixel) at("crosshair").style.transform = `translate(${pixel[0]}px, ${pixel[1]}px)`;
}

// ---- the buttons around the map

for (const skip of document.querySelectorAll(".skip")) {
  skip.addEventListener("click", (event) => {
    event.preventDefault(); // the address holds the state
    const to = at(skip.hash.slice(1));
    (to.id === "panel" ? (document.querySelector(".tab[aria-selected=true]") ?? to) : to).focus();
  });
}
at("zoom-in").addEventListener("click", () => map.zoomBy(1));
at("zoom-out").addEventListener("click", () => map.zoomBy(-1));
at("whole").addEventListener("click", () => map.fitAll());
at("alert-close").addEventListener("click", dismiss);
at("map").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && at("map").dataset.mode !== "draw") ask(map.centre());
});
at("copy-link").addEventListener("click", async () => {
  const address = state.link();
  try {
    await navigator.clipboard.writeText(address);
    tell(t("tools.copied"));
  } catch {
    tell(t("tools.copy-by-hand")); // no clipboard outside of https
  }
});
at("print").addEventListener("click", () => window.print());

let telling = 0;
// A short word to who looks and who listens.
function tell(words) {
  const node = at("toast");
  node.textContent = words;
  node.hidden = false;
  announce(words);
  clearTimeout(telling);
  telling = setTimeout(() => (node.hidden = true), 5000);
}

let onScreen = "light";
// On paper: map, legend, notice, scale, link.
window.addEventListener("beforeprint", () => {
  at("print-foot").textContent = t("print.foot", { notice: catalog?.words.notice ?? "", date: date(new Date().toISOString()), link: state.link() });
  document.body.classList.add("printing");
  onScreen = document.documentElement.dataset.theme;
  document.documentElement.dataset.theme = "light"; // paper is
  map.dress();
  makeRoom();
  map.ol.updateSize();
  map.ol.renderSync();
});
window.addEventListener("afterprint", () => {
  document.body.classList.remove("printing");
  document.documentElement.dataset.theme = onScreen;
  map.dress();
  map.ol.updateSize();
  makeRoom();
});

for (const kind of ["pointerdown", "keydown"]) window.addEventListener(kind, () => (touched = true), { once: true, capture: true });
window.addEventListener("resize", makeRoom);
narrow.addEventListener("change", makeRoom);
window.addEventListener("hashchange", () => {
  state.readLink();
  const { at: centre, zoom, layer } = state.get();
  if (!catalog) return;
  if (!layer && catalog.first) state.set({ layer: catalog.first.id });
  map.go({ at: centre, zoom });
});
