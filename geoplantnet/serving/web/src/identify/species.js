// A species: found by its name, then its map, its names, when and how high it was seen, pictures.
import { announce } from "../announce.js";
import { asTable, columns, joined, rows } from "../charts.js";
import { element } from "../dom.js";
import { lang, monthName, number, t } from "../i18n.js";
import { link } from "./answer.js";
import { SITE, siteJson, speciesFacts } from "./api.js";
import { offers } from "./config.js";
import { createFinder } from "./finder.js";
import { loading } from "./parts.js";
import { pictureOf } from "./viewer.js";

export function showSpecies(root, { rest: [id], signal }) {
  const finder = createFinder({ signal, onPick: (one) => (location.hash = `#species/${encodeURIComponent(one.id)}`) });
  if (!id) {
    root.append(element("h1", "", t("species.title")), element("p", "lede", t("species.lede")), finder.node);
    return t("species.title");
  }
  const title = element("h1", "", id);
  const about = element("div", "stack");
  root.append(title, about, element("h2", "", t("species.another")), finder.node);
  loading(about, { load: () => speciesFacts(id, { signal }), draw: (facts) => draw(facts), signal });
  return id;

  function draw(facts) {
    const common = facts.commonNames?.[0];
    title.replaceChildren(common ?? element("i", "", facts.scientificNameWithoutAuthor));
    document.title = `${title.textContent} · ${document.title.split(" · ").at(-1)}`;
    announce(title.textContent);
    about.append(names(facts));
    if (offers().maps) about.append(map(facts, signal));
    about.append(phenology(facts.months), altitude(facts.altitude), pictures(facts.images, facts.scientificNameWithoutAuthor));
  }
}

function names(facts) {
  const pairs = [
    [t("species.scientific"), element("span", "", element("i", "", facts.scientificNameWithoutAuthor), " ", facts.scientificNameAuthorship ?? "")],
    facts.commonNames?.length && [t("species.common"), facts.commonNames.join(", ")],
    facts.genus && [t("species.genus"), element("i", "", nameIn(facts.genus))],
    facts.family && [t("species.family"), nameIn(facts.family)],
    facts.iucnCategory && [t("species.iucn"), t(`iucn.${facts.iucnCategory}`)],
    facts.gbifId && ["GBIF", String(facts.gbifId)],
    facts.powoId && ["POWO", facts.powoId],
    Number.isFinite(facts.recordCount) && [t("species.records"), number(facts.recordCount)],
  ].filter(Boolean);
  return element("section", "card", element("h2", "", t("species.names")), element("dl", "pairs", ...pairs.map(([name, value]) => element("div", "", element("dt", "", name), element("dd", "", value)))));
}

const nameIn = (taxon) => (typeof taxon === "string" ? taxon : (taxon.scientificNameWithoutAuthor ?? taxon.scientificName ?? ""));

// The map of the store, as WMS draws it, with its legend; a species that is not mapped says so.
function map(facts, signal) {
  const box = element("section", "card map-card", element("h2", "", t("species.map")));
  const body = element("div");
  box.append(body);
  if (!facts.map) {
    body.append(element("p", "faint", t("species.no-map")));
    return box;
  }
  const { layer } = facts.map;
  loading(body, {
    load: () => siteJson("api/layers", { signal }),
    signal,
    draw: ({ bounds }) => {
      const [west, south, east, north] = bounds["EPSG:3035"];
      const width = 720;
      const height = Math.max(240, Math.min(900, Math.round((width * (north - south)) / (east - west))));
      const query = (extra) => new URL(`wms?${new URLSearchParams({ SERVICE: "WMS", VERSION: "1.3.0", ...extra })}`, SITE).href;
      const image = element("img", "range-map");
      image.src = query({ REQUEST: "GetMap", LAYERS: layer, STYLES: "", CRS: "EPSG:3035", BBOX: [south, west, north, east].join(","), WIDTH: width, HEIGHT: height, FORMAT: "image/png", TRANSPARENT: "TRUE" });
      image.alt = t("species.map-alt", { name: facts.scientificNameWithoutAuthor });
      Object.assign(image, { width, height, loading: "lazy" });
      const legend = element("img", "range-legend");
      legend.src = query({ REQUEST: "GetLegendGraphic", LAYER: layer, FORMAT: "image/png", SLD_VERSION: "1.1.0", LANGUAGE: lang() });
      legend.alt = t("species.legend-alt");
      body.append(image, legend, element("p", "faint small", t("species.map-note")), link(new URL(`#layer=${layer}`, SITE).href, t("species.to-map"), ""));
    },
  });
  return box;
}

function phenology(months) {
  const box = element("section", "card", element("h2", "", t("species.phenology")));
  if (!months.some((count) => count > 0)) {
    box.append(element("p", "faint", t("species.no-records")));
    return box;
  }
  const bars = months.map((count, i) => ({ short: monthName(i, "narrow"), name: monthName(i), count }));
  const most = bars.reduce((best, bar) => (bar.count > best.count ? bar : best));
  box.append(columns(bars, false, t("species.phenology-told", { month: most.name, n: most.count })), asTable(bars, { caption: t("species.phenology"), heads: [t("species.month"), t("species.records")] }));
  return box;
}

// classes: [{from, to, count}] metres
function altitude(classes) {
  const box = element("section", "card", element("h2", "", t("species.altitude")));
  if (!classes?.length) {
    box.append(element("p", "faint", t("species.no-records")));
    return box;
  }
  const bars = joined(classes).reverse().map(({ from, to, count }) => ({ name: t("species.metres", { from: number(from), to: number(to) }), count }));
  box.append(rows(bars, false, { caption: t("species.altitude"), heads: [t("species.metres-head"), t("species.records")] }));
  return box;
}

function pictures(images, title) {
  const box = element("section", "card", element("h2", "", t("species.images")));
  if (!images.length) {
    box.append(element("p", "faint", t("species.no-images")));
    return box;
  }
  const seen = images.slice(0, 24);
  box.append(element("ul", "pictures", ...seen.map((_, i) => pictureOf(seen, i, { title }))));
  return box;
}
