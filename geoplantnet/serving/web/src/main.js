// The page: fetch the catalog, draw the tree, the legend and the map, and keep the address in step.
import { ServerError, fetchCatalog, fetchValues } from "./catalog.js";
import { placeText } from "./format.js";
import { markLegend, showLegend } from "./legend.js";
import { createMap } from "./map.js";
import { readLink, writeLink } from "./permalink.js";
import { createTree } from "./tree.js";
import { hideValues, showFailure, showReading, showValues } from "./values.js";

const RELIEF = "relief"; // id of the hillshade layer, drawn under the active layer where the catalog holds one
const OPACITY = 75; // per cent

const at = (id) => document.getElementById(id);
const narrow = window.matchMedia("(max-width: 760px)"); // as in style.css
const wide = window.matchMedia("(min-width: 1100px)");

let catalog = null;
let tree = null;
let active = null;
let opacity = readLink(location.hash).opacity ?? OPACITY;
let reading = new AbortController();
let place = null; // [easting, northing] last read
let pending = 0;

const map = createMap({
  onClick: read,
  onMove: () => {
    remember();
    aim();
  },
  onLoading: (busy) => {
    at("progress").hidden = !busy;
  },
  onFailure: alertUser,
});

start();

async function start() {
  try {
    catalog = await fetchCatalog();
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    at("legend-family").textContent = "No layers";
    alertUser(error.message, start);
    return;
  }
  at("catalog-title").textContent = catalog.title;
  at("notice").textContent = catalog.notice;
  at("notice").hidden = !catalog.notice;
  at("version").textContent = `Catalog ${catalog.version.slice(0, 8)}`;
  if (catalog.layers.size === 0) {
    at("legend-family").textContent = "No layers";
    at("search-status").textContent = "This catalog holds no layers yet. Publish a run, then reload.";
    return;
  }
  tree = createTree(catalog.families, (id) => choose(id));
  map.setCatalog(catalog.bounds["EPSG:3035"], catalog.version.slice(0, 8));
  at("relief-setting").hidden = !catalog.layers.has(RELIEF);
  at("relief").checked = catalog.layers.has(RELIEF);
  setOpacity(opacity);
  const link = readLink(location.hash);
  choose(catalog.layers.has(link.layer) ? link.layer : firstLayer().id);
  makeRoom(); // the legend has its height now
  map.fit(catalog.bounds["EPSG:3035"]);
  map.go(link);
  if (link.layer && !catalog.layers.has(link.layer)) {
    at("search-status").textContent = `The layer “${link.layer}” of this link is not in the catalog; showing ${active.title}.`;
  }
}

// An indicator of the whole community says more about a place than the first species of a list.
function firstLayer() {
  const family = catalog.families.find(({ name }) => name === "Ecosystem") ?? catalog.families[0];
  return family.layers[0];
}

function choose(id) {
  if (active?.id === id) return;
  active = catalog.layers.get(id);
  tree.select(id);
  showLegend(active);
  document.title = `${active.title} · ${catalog.title}`;
  at("attribution").textContent = [active.attribution, "Countries: Natural Earth"].filter(Boolean).join(" · ");
  at("map").setAttribute("aria-label", `Map of ${active.title}`);
  clearTimeout(pending);
  pending = setTimeout(() => {
    // arrow keys run through a list: only the layer one rests on is asked for
    map.show(active);
    shade();
    remember();
    if (place) read(place);
  }, 120);
}

function shade() {
  map.setRelief(at("relief").checked && active.id !== RELIEF ? catalog.layers.get(RELIEF) : undefined);
}

function setOpacity(percent) {
  opacity = percent;
  at("opacity").value = percent;
  at("opacity-value").textContent = `${percent} %`;
  map.setOpacity(percent / 100);
}

// The active layer first, then the indicators in the order of the tree.
function asked() {
  const indicators = [...catalog.layers.values()].filter(({ family, id }) => family !== "Species" && id !== RELIEF && id !== active.id);
  return [active, ...indicators];
}

async function read(coordinate) {
  if (!active) return;
  reading.abort();
  reading = new AbortController();
  const { signal } = reading;
  place = coordinate;
  map.mark(coordinate);
  showReading(placeText(map.lonLat(coordinate)));
  const layers = asked();
  try {
    const values = await fetchValues(map.valuesUrls(coordinate, layers.map(({ id }) => id)), signal);
    if (signal.aborted) return;
    showValues(layers, values);
    if (narrow.matches) map.reveal(coordinate, at("values").getBoundingClientRect().top - 24);
    markLegend(layers[0], values.get(layers[0].id) ?? null);
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof ServerError)) throw error;
    showFailure(error.message, () => read(coordinate));
  }
}

function forget() {
  reading.abort();
  place = null;
  map.mark(null);
  hideValues();
  if (active) markLegend(active, null);
}

function remember() {
  if (active) history.replaceState(null, "", writeLink({ layer: active.id, ...map.state(), opacity }));
}

function alertUser(message, retry) {
  at("alert-text").textContent = message;
  at("alert").hidden = false;
  at("alert-retry").onclick = () => {
    at("alert").hidden = true;
    retry();
  };
}

// The centre of the map is the centre of what the panels leave free.
function makeRoom() {
  const head = document.querySelector(".masthead").getBoundingClientRect();
  const legend = at("legend").getBoundingClientRect();
  if (narrow.matches) map.setPadding([head.bottom, 0, innerHeight - legend.top, 0]);
  else map.setPadding([0, wide.matches ? innerWidth - legend.left : 0, 0, head.right]);
  aim();
}

function aim() {
  const pixel = map.centrePixel();
  if (pixel) at("crosshair").style.transform = `translate(${pixel[0]}px, ${pixel[1]}px)`;
}

at("opacity").addEventListener("input", () => {
  setOpacity(Number(at("opacity").value));
  remember();
});
at("relief").addEventListener("change", shade);
at("values-close").addEventListener("click", () => {
  forget();
  at("map").focus();
});
at("browse-toggle").addEventListener("click", () => {
  const open = document.body.classList.toggle("browsing");
  at("browse-toggle").setAttribute("aria-expanded", String(open));
  at("browse-toggle").textContent = open ? "Map" : "Layers";
});
at("map").addEventListener("keydown", (event) => {
  if (event.key === "Enter") read(map.centre());
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !at("values").hidden && event.target !== at("search")) forget();
});
new ResizeObserver(makeRoom).observe(at("legend"));
window.addEventListener("resize", makeRoom);
window.addEventListener("hashchange", () => {
  if (!catalog) return;
  const link = readLink(location.hash);
  if (link.opacity !== undefined) setOpacity(link.opacity);
  if (catalog.layers.has(link.layer)) choose(link.layer);
  map.go(link);
});
