// What the page shows, in one place, and in the address: #layer=shannon&at=46.4812,8.0123&zoom=6.5&opacity=75
import { decode, encode } from "./area/code.js";

export const START = Object.freeze({
  lang: null, // "en" | "fr"; null: as the browser asks
  theme: "auto", // "auto" | "light" | "dark"
  tab: "layers", // "layers" | "here" | "area"
  layer: null, // id
  opacity: 75, // per cent
  relief: true,
  presence: false, // a species as present or absent in place of its probability
  lambda: null, // a probability above which it is present; null: the cells' own rule
  uncertainty: false,
  hatch: false, // where the model extrapolates
  scenario: null, // name of an epoch; null: today's
  swipe: null, // {layer, scenario, at}: what the right-hand side shows, and the divider's place in per cent
  at: null, // [lon, lat] of the map's centre
  zoom: null,
  place: null, // [lon, lat] that was asked about
  area: null, // geometry in lon, lat
  areaName: null,
  area2: null,
  area2Name: null,
  compare: null, // what the area is compared with: "area" (the second) or the name of an epoch
});

const WRITE_AFTER = 150; // milliseconds: browsers refuse an address that changes a hundred times in seconds

let now = START;
let writing = 0;
let seen = location.hash; // the address as it was read or written last
const listeners = [];

export const state = {
  get: () => now,
  // Change some of it and tell everybody; a value that stays the same is no change.
  set(patch) {
    const before = now;
    const changed = Object.entries(patch).filter(([key, value]) => !same(before[key], value));
    if (!changed.length) return;
    now = Object.freeze({ ...before, ...Object.fromEntries(changed) });
    clearTimeout(writing);
    writing = setTimeout(writeNow, WRITE_AFTER);
    for (const listener of [...listeners]) listener(now, before);
  },
  // listener(now, before); -> a function that ends it
  on(listener) {
    listeners.push(listener);
    return () => listeners.splice(listeners.indexOf(listener), 1);
  },
  // Take over what the address says; what it does not say is as at the start, but for the reader's own language and theme.
  readLink(hash = location.hash) {
    const { lang, theme } = now;
    seen = hash;
    state.set({ ...START, lang, theme, ...parse(hash) });
  },
  // The address as it stands now, for a link to be handed on.
  link() {
    writeNow();
    return location.href;
  },
};

function same(a, b) {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}

function writeNow() {
  clearTimeout(writing);
  if (location.hash !== seen) return; // another address has come, and is read in a moment
  const hash = write(now);
  if (hash !== seen) history.replaceState(null, "", hash || location.pathname + location.search);
  seen = location.hash;
}

// "#..." -> the part of the state it names; what makes no sense is left out.
export function parse(hash) {
  const fields = new URLSearchParams(hash.replace(/^#/, ""));
  const found = {};
  const text = (key, field = key) => {
    if (fields.get(field)) found[key] = fields.get(field).slice(0, 200);
  };
  const oneOf = (key, values) => {
    if (values.includes(fields.get(key))) found[key] = fields.get(key);
  };
  const number = (key, low, high) => {
    const value = fields.has(key) ? Number(fields.get(key) || NaN) : NaN;
    if (value >= low && value <= high) found[key] = value;
  };
  const flag = (key) => {
    if (["0", "1"].includes(fields.get(key))) found[key] = fields.get(key) === "1";
  };
  const place = (key) => {
    const [lat, lon, ...rest] = (fields.get(key) ?? "").split(",").map(Number);
    if (!rest.length && Math.abs(lat) <= 90 && Math.abs(lon) <= 180) found[key] = [lon, lat];
  };
  const shape = (key) => {
    if (!fields.get(key)) return;
    try {
      found[key] = decode(fields.get(key));
    } catch {
      // a link cut short: the rest of it still holds
    }
  };
  oneOf("lang", ["en", "fr"]);
  oneOf("theme", ["auto", "light", "dark"]);
  oneOf("tab", ["layers", "here", "area"]);
  text("layer");
  number("opacity", 0, 100);
  for (const key of ["relief", "presence", "uncertainty", "hatch"]) flag(key);
  number("lambda", 0, 1);
  text("scenario");
  place("at");
  number("zoom", 0, 30);
  place("place");
  if (fields.get("swipe")) {
    const at = Number(fields.get("swipe-at") || 50);
    found.swipe = { layer: fields.get("swipe").slice(0, 200), scenario: fields.get("swipe-scenario")?.slice(0, 200) || null, at: at >= 0 && at <= 100 ? at : 50 };
  }
  shape("area");
  text("areaName", "area-name");
  shape("area2");
  text("area2Name", "area2-name");
  text("compare");
  if (found.area2 && !found.compare) found.compare = "area";
  return found;
}

// The inverse: only what differs from the start, besides layer and opacity.
export function write(full) {
  const parts = [];
  const put = (field, value) => value !== null && parts.push(`${field}=${encodeURIComponent(value).replace(/%2C/g, ",")}`);
  const place = (field, lonLat) => lonLat && put(field, `${lonLat[1].toFixed(5)},${lonLat[0].toFixed(5)}`);
  if (full.layer) put("layer", full.layer);
  place("at", full.at);
  if (full.zoom !== null) put("zoom", +full.zoom.toFixed(2));
  if (full.layer) put("opacity", full.opacity);
  for (const key of ["relief", "presence", "uncertainty", "hatch"]) if (full[key] !== START[key]) put(key, full[key] ? 1 : 0);
  if (full.lambda !== null) put("lambda", full.lambda);
  if (full.scenario) put("scenario", full.scenario);
  if (full.swipe) {
    put("swipe", full.swipe.layer);
    if (full.swipe.scenario) put("swipe-scenario", full.swipe.scenario);
    put("swipe-at", Math.round(full.swipe.at));
  }
  place("place", full.place);
  if (full.area) put("area", encode(full.area));
  if (full.areaName) put("area-name", full.areaName);
  if (full.area2 && full.compare === "area") {
    put("area2", encode(full.area2));
    if (full.area2Name) put("area2-name", full.area2Name);
  } else if (full.compare) put("compare", full.compare);
  if (full.tab !== START.tab) put("tab", full.tab);
  if (full.lang) put("lang", full.lang);
  if (full.theme !== START.theme) put("theme", full.theme);
  return parts.length ? `#${parts.join("&")}` : "";
}
