// The map: Europe in EPSG:3035, countries, relief, one thematic layer or two side by side, the hatch, the mark of a place.
import Feature from "ol/Feature.js";
import OlMap from "ol/Map.js";
import View from "ol/View.js";
import ScaleLine from "ol/control/ScaleLine.js";
import MultiLineString from "ol/geom/MultiLineString.js";
import MultiPolygon from "ol/geom/MultiPolygon.js";
import Point from "ol/geom/Point.js";
import { fromExtent } from "ol/geom/Polygon.js";
import { defaults } from "ol/interaction/defaults.js";
import Graticule from "ol/layer/Graticule.js";
import TileLayer from "ol/layer/Tile.js";
import VectorLayer from "ol/layer/Vector.js";
import { fromLonLat, toLonLat } from "ol/proj.js";
import { getRenderPixel } from "ol/render.js";
import ImageTileSource from "ol/source/ImageTile.js";
import TileWMS from "ol/source/TileWMS.js";
import VectorSource from "ol/source/Vector.js";
import { Circle, Fill, Stroke, Style, Text } from "ol/style.js";
import TileGrid from "ol/tilegrid/TileGrid.js";
import { basemapLayer } from "./basemap.js";
import { EUROPE } from "./extent.js";
import { hatchOf } from "./hatch.js";
import { CRS } from "./projection.js";

// 50 m, the cell, times powers of two: a pixel is then a whole number of cells, or a whole fraction of one.
const RESOLUTIONS = Array.from({ length: 12 }, (_, k) => 6400 / 2 ** k);
// Anchored at 0, 0 like the 25 km tiles, so that image edges fall on cell edges.
const TILES = new TileGrid({ origin: [0, 8_192_000], resolutions: RESOLUTIONS, tileSize: 512, extent: EUROPE });

// events: onClick([easting, northing]), onMove(), onLoading(boolean), onFailure({key, values}, retry)
export function createMap(events) {
  const land = new VectorLayer({ className: "land", source: new VectorSource(), updateWhileInteracting: true });
  const relief = new TileLayer({ className: "relief", visible: false });
  const left = new TileLayer({ className: "thematic" });
  const right = new TileLayer({ className: "swiped", visible: false });
  const hatch = new TileLayer({ className: "hatch", visible: false });
  const borders = new VectorLayer({ className: "lines", source: new VectorSource(), updateWhileInteracting: true });
  const outline = new VectorLayer({ className: "lines", source: new VectorSource() });
  const marker = new VectorLayer({ className: "lines", source: new VectorSource(), zIndex: 10 });
  const view = new View({ projection: CRS, resolutions: RESOLUTIONS, extent: EUROPE, constrainOnlyCenter: true, enableRotation: false });
  view.setCenter([4_321_000, 3_000_000]);
  view.setResolution(3200);
  const layers = [land, relief, left, right, hatch, borders, outline, marker];
  const map = new OlMap({ target: "map", layers, view, controls: [], interactions: defaults({ onFocusOnly: false }) }); // a drag moves it wherever the focus is
  map.addControl(new ScaleLine({ target: "scale", minWidth: 72 }));
  let graticule = null;
  let mode = "read";
  let version = "";
  let bounds = null;
  let swipeAt = null; // px from the left, or null

  // Meridians and parallels, named along the upper and the left edge of what the panels leave free.
  const drawGraticule = () => {
    const [width, height] = map.getSize() ?? [1, 1];
    const [top, , , side] = view.padding ?? [0, 0, 0, 0];
    const label = (placement) =>
      new Text({
        font: '11px system-ui, "Segoe UI", sans-serif',
        fill: new Fill({ color: color("label") }),
        stroke: new Stroke({ color: color("halo"), width: 3 }),
        ...placement,
      });
    if (graticule) map.removeLayer(graticule);
    graticule = new Graticule({
      className: "lines",
      strokeStyle: new Stroke({ color: color("graticule"), width: 1 }),
      showLabels: true,
      lonLabelPosition: 1 - top / height,
      lonLabelStyle: label({ textBaseline: "top", offsetY: 4 }),
      latLabelPosition: side / width,
      latLabelStyle: label({ textAlign: "start", offsetX: 12 }),
      wrapX: false,
      targetSize: 160,
    });
    map.getLayers().insertAt(map.getLayers().getArray().indexOf(borders), graticule);
  };
  const dress = () => {
    drawGraticule();
    land.setStyle(new Style({ fill: new Fill({ color: color("land") }), stroke: new Stroke({ color: color("coast"), width: 1 }) }));
    borders.setStyle([
      new Style({ stroke: new Stroke({ color: color("halo"), width: 3 }) }),
      new Style({ stroke: new Stroke({ color: color("border"), width: 1.2 }) }),
    ]);
    outline.setStyle(new Style({ stroke: new Stroke({ color: color("border"), width: 1, lineDash: [5, 5] }) }));
    marker.setStyle([
      new Style({ image: new Circle({ radius: 8, stroke: new Stroke({ color: "#fff", width: 5 }) }) }),
      new Style({ image: new Circle({ radius: 8, stroke: new Stroke({ color: "#14261c", width: 2.5 }) }) }),
    ]);
  };
  dress();

  // A click that drew becomes a "single click" a while later, on a busy machine after the drawing has ended: it asks for nothing.
  let drew = null;
  map.on("click", ({ originalEvent }) => {
    drew = mode === "read" ? null : originalEvent;
  });
  map.on("singleclick", ({ coordinate, originalEvent }) => mode === "read" && originalEvent !== drew && events.onClick(coordinate));
  map.on("moveend", events.onMove);
  map.on("loadstart", () => events.onLoading(true));
  map.on("loadend", () => events.onLoading(false));

  // Left of the divider one layer, right of it the other.
  const clip = (layer, first) => {
    layer.on("prerender", (event) => {
      if (swipeAt === null) return;
      const [width, height] = map.getSize();
      const [from, to] = first ? [0, swipeAt] : [swipeAt, width];
      const context = event.context;
      context.save();
      context.beginPath();
      for (const [i, corner] of [[from, 0], [to, 0], [to, height], [from, height]].entries()) {
        context[i ? "lineTo" : "moveTo"](...getRenderPixel(event, corner));
      }
      context.closePath();
      context.clip();
    });
    layer.on("postrender", (event) => swipeAt !== null && event.context.restore());
  };
  clip(left, true);
  clip(right, false);

  async function drawCountries() {
    try {
      const countries = await (await fetch("./countries.json")).json();
      const line = (steps) => lineOf(steps, countries.unit);
      const shapes = [new MultiPolygon(countries.land.map((polygon) => polygon.map(line))), new MultiLineString(countries.borders.map(line))];
      for (const [i, layer] of [land, borders].entries()) layer.getSource().addFeature(new Feature(shapes[i].transform("EPSG:4326", CRS)));
    } catch {
      events.onFailure({ key: "map.no-countries" }, drawCountries);
    }
  }

  // shown: {id, title, style, scenario, lambda} as chosen
  function wms({ id, title, style = "", scenario = null, lambda = null }) {
    const source = new TileWMS({
      url: "./wms",
      // images may be cached: naming the catalog's version keeps those of an older one out
      params: {
        LAYERS: id,
        STYLES: style,
        FORMAT: "image/png",
        TRANSPARENT: true,
        CATALOG: version,
        ...(scenario ? { DIM_SCENARIO: scenario } : {}),
        ...(lambda !== null ? { DIM_LAMBDA: lambda } : {}),
      },
      projection: CRS,
      tileGrid: TILES,
      interpolate: false, // a cell is a cell
    });
    source.on("tileloaderror", () => events.onFailure({ key: "map.images-missing", values: { title } }, () => source.refresh()));
    return source;
  }

  // "first-map" in the browser's own timings: the first thematic image is on the screen.
  function markFirst(source) {
    source.once("tileloadend", () =>
      map.once("postrender", () => {
        if (!performance.getEntriesByName("first-map").length) performance.mark("first-map");
      }),
    );
  }

  return {
    ol: map,
    view,
    // Who takes clicks: "read" asks about the place, "draw" leaves them to whoever draws.
    mode(next) {
      mode = next;
      document.getElementById("map").dataset.mode = next;
    },
    lonLat: (coordinate) => toLonLat(coordinate, CRS),
    coordinate: (lonLat) => fromLonLat(lonLat, CRS),
    // Where the data lie (drawn as an outline), and in which version.
    setCatalog(dataBounds, catalogVersion) {
      bounds = dataBounds;
      version = catalogVersion;
      outline.getSource().clear();
      outline.getSource().addFeature(new Feature(fromExtent(bounds)));
    },
    setBasemap(basemap) {
      land.setVisible(basemap.kind === "natural-earth");
      borders.setVisible(basemap.kind !== "none");
      if (basemap.kind === "natural-earth") drawCountries();
      else if (basemap.kind === "xyz") {
        borders.setVisible(false);
        map.getLayers().insertAt(0, basemapLayer(basemap));
      }
    },
    fit(extent, padding = 24) {
      view.fit(extent, { padding: [padding, padding, padding, padding], maxZoom: 10 });
    },
    fitAll() {
      if (bounds) this.fit(bounds);
    },
    zoomBy(steps) {
      view.adjustZoom(steps);
    },
    show(shown) {
      const source = wms(shown);
      markFirst(source);
      left.setSource(source);
    },
    // The layer right of the divider, or null for none.
    showRight(shown) {
      if (shown) right.setSource(wms(shown));
      right.setVisible(Boolean(shown));
      if (!shown) swipeAt = null;
      map.render();
    },
    // The divider: px from the map's left edge.
    divide(px) {
      swipeAt = px;
      map.render();
    },
    // Stripes where the model extrapolates: layer is the catalog's `applicability`, or null for none.
    setHatch(layer, scenario) {
      if (layer) {
        const urls = wms({ id: layer.id, title: layer.title, scenario });
        const loader = hatchOf(layer, (z, x, y) => urls.tileUrlFunction([z, x, y], 1, urls.getProjection()), () => dark());
        hatch.setSource(new ImageTileSource({ loader, projection: CRS, tileGrid: TILES, interpolate: false, tileSize: 512 }));
      }
      hatch.setVisible(Boolean(layer));
    },
    setRelief(layer) {
      if (layer && !relief.getSource()) relief.setSource(wms({ id: layer.id, title: layer.title }));
      relief.setVisible(Boolean(layer));
      document.getElementById("map").classList.toggle("shaded", Boolean(layer));
    },
    setOpacity(share) {
      left.setOpacity(share);
      right.setOpacity(share);
    },
    dress,
    // Room taken by panels: [top, right, bottom, left] px; the centre is the centre of what is left.
    // `keepCentre`: what was in the middle stays there; else what is on the screen stays where it is.
    setPadding(padding, keepCentre) {
      if (view.padding && padding.every((value, i) => value === view.padding[i])) return;
      const centre = view.getCenter();
      view.padding = padding;
      if (keepCentre) view.setCenter(centre);
      map.updateSize();
      drawGraticule();
    },
    centre: () => view.getCenter(),
    centrePixel: () => map.getPixelFromCoordinate(view.getCenter()),
    state: () => ({ at: toLonLat(view.getCenter(), CRS), zoom: view.getZoom() }),
    go({ at, zoom }) {
      if (at) view.setCenter(fromLonLat(at, CRS));
      if (zoom !== null && zoom !== undefined) view.setZoom(zoom);
    },
    // Bring a place into what the panels leave free, where it is not.
    reveal(coordinate) {
      const pixel = map.getPixelFromCoordinate(coordinate);
      const [width, height] = map.getSize() ?? [0, 0];
      const [top, right_, bottom, left_] = view.padding ?? [0, 0, 0, 0];
      const inside = pixel && pixel[0] > left_ + 16 && pixel[0] < width - right_ - 16 && pixel[1] > top + 16 && pixel[1] < height - bottom - 16;
      if (!inside) view.setCenter(coordinate);
    },
    mark(coordinate) {
      marker.getSource().clear();
      if (coordinate) marker.getSource().addFeature(new Feature(new Point(coordinate)));
    },
  };
}

// A line from its first vertex and the steps to the next ones, whole numbers of `unit` degrees -> [[lon, lat], ...]
function lineOf(steps, unit) {
  let [x, y] = [0, 0];
  return Array.from({ length: steps.length / 2 }, (_, i) => {
    x += steps[2 * i];
    y += steps[2 * i + 1];
    return [x * unit, y * unit];
  });
}

function dark() {
  return getComputedStyle(document.documentElement).colorScheme === "dark";
}

// A colour of the basemap, as style.css has it for the light or the dark page.
function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--map-${name}`).trim();
}
