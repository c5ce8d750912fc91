// The map: Europe in EPSG:3035, countries, relief, the active layer.
import Feature from "ol/Feature.js";
import OlMap from "ol/Map.js";
import View from "ol/View.js";
import ScaleLine from "ol/control/ScaleLine.js";
import Zoom from "ol/control/Zoom.js";
import ZoomToExtent from "ol/control/ZoomToExtent.js";
import GeoJSON from "ol/format/GeoJSON.js";
import Point from "ol/geom/Point.js";
import { fromExtent } from "ol/geom/Polygon.js";
import Graticule from "ol/layer/Graticule.js";
import TileLayer from "ol/layer/Tile.js";
import VectorLayer from "ol/layer/Vector.js";
import { fromLonLat, toLonLat } from "ol/proj.js";
import TileWMS from "ol/source/TileWMS.js";
import VectorSource from "ol/source/Vector.js";
import { Circle, Fill, Stroke, Style, Text } from "ol/style.js";
import TileGrid from "ol/tilegrid/TileGrid.js";
import { CRS, EUROPE } from "./projection.js";

// 50 m, the cell, times powers of two: a pixel is then a whole number of cells, or a whole fraction of one.
const RESOLUTIONS = Array.from({ length: 12 }, (_, k) => 6400 / 2 ** k);
const FINEST = RESOLUTIONS.at(-1);
// Anchored at 0, 0 like the 25 km tiles, so that image edges fall on cell edges.
const TILES = new TileGrid({ origin: [0, 8_192_000], resolutions: RESOLUTIONS, tileSize: 512, extent: EUROPE });

// LayerLimit of the service's capabilities: how many layers one request may name.
const LAYER_LIMIT = 16;

const dark = window.matchMedia("(prefers-color-scheme: dark)");

// events: onClick([easting, northing]), onMove(), onLoading(boolean), onFailure(words, retry)
export function createMap(events) {
  const land = new VectorLayer({ className: "land", source: new VectorSource(), updateWhileInteracting: true });
  const relief = new TileLayer({ className: "relief", visible: false });
  const thematic = new TileLayer({ className: "thematic" });
  const borders = new VectorLayer({ className: "lines", source: new VectorSource(), updateWhileInteracting: true });
  const outline = new VectorLayer({ className: "lines", source: new VectorSource() });
  const marker = new VectorLayer({ className: "lines", source: new VectorSource() });
  const view = new View({ projection: CRS, resolutions: RESOLUTIONS, extent: EUROPE, constrainOnlyCenter: true, enableRotation: false });
  view.setCenter([4_321_000, 3_000_000]);
  view.setResolution(3200);
  const map = new OlMap({ target: "map", layers: [land, relief, thematic, borders, outline, marker], view, controls: [] });
  map.addControl(new ScaleLine({ target: "scale", minWidth: 72 }));
  map.addControl(new Zoom({ target: "controls", zoomInTipLabel: "Zoom in", zoomOutTipLabel: "Zoom out", zoomOutLabel: "−" }));
  let graticule = null;

  // Meridians and parallels, named along the upper and the left edge of what the panels leave free.
  const drawGraticule = () => {
    const [width, height] = map.getSize() ?? [1, 1];
    const [top, , , left] = view.padding ?? [0, 0, 0, 0];
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
      latLabelPosition: left / width,
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
  dark.addEventListener("change", dress);

  map.on("singleclick", ({ coordinate }) => events.onClick(coordinate));
  map.on("moveend", events.onMove);
  map.on("loadstart", () => events.onLoading(true));
  map.on("loadend", () => events.onLoading(false));

  const drawCountries = async () => {
    const read = (geometry) => new Feature(new GeoJSON().readGeometry(geometry, { dataProjection: "EPSG:4326", featureProjection: CRS }));
    try {
      const countries = await (await fetch("./countries.json")).json();
      land.getSource().addFeature(read(countries.land));
      borders.getSource().addFeature(read(countries.borders));
    } catch {
      events.onFailure("The outlines of the countries did not arrive.", drawCountries);
    }
  };
  drawCountries();

  const probe = new TileWMS({ url: "./wms", params: {}, projection: CRS, tileGrid: TILES }); // asks for values, draws nothing
  let version = "";
  function wms(layer) {
    const source = new TileWMS({
      url: "./wms",
      // images may be cached: naming the catalog's version keeps those of an older one out
      params: { LAYERS: layer.id, STYLES: "", FORMAT: "image/png", TRANSPARENT: true, CATALOG: version },
      projection: CRS,
      tileGrid: TILES,
      interpolate: false, // a cell is a cell
    });
    source.on("tileloaderror", () => events.onFailure(`Some images of “${layer.title}” did not arrive.`, () => source.refresh()));
    return source;
  }

  return {
    // Where the data lie (drawn as an outline, and what the "whole area" button goes to), and in which version.
    setCatalog(bounds, catalogVersion) {
      version = catalogVersion;
      outline.getSource().clear();
      outline.getSource().addFeature(new Feature(fromExtent(bounds)));
      const whole = new ZoomToExtent({ target: "controls", extent: bounds, tipLabel: "Show the whole mapped area", label: "⤢" });
      map.addControl(whole);
    },
    fit(bounds) {
      view.fit(bounds, { padding: [24, 24, 24, 24] });
    },
    show(layer) {
      thematic.setSource(wms(layer));
    },
    setRelief(layer) {
      if (layer && !relief.getSource()) relief.setSource(wms(layer));
      relief.setVisible(Boolean(layer));
      document.getElementById("map").classList.toggle("shaded", Boolean(layer));
    },
    setOpacity(share) {
      thematic.setOpacity(share);
    },
    // Room taken by panels: [top, right, bottom, left] px; the centre is the centre of what is left.
    setPadding(padding) {
      view.padding = padding;
      map.updateSize();
      drawGraticule();
    },
    centre: () => view.getCenter(),
    centrePixel: () => map.getPixelFromCoordinate(view.getCenter()),
    lonLat: (coordinate) => toLonLat(coordinate, CRS),
    state: () => ({ at: toLonLat(view.getCenter(), CRS), zoom: view.getZoom() }),
    go({ at, zoom }) {
      if (at) view.setCenter(fromLonLat(at, CRS));
      if (zoom !== undefined) view.setZoom(zoom);
    },
    // Move the map just so far that a place is not hidden below `limit`, in px from the top.
    reveal(coordinate, limit) {
      const hidden = map.getPixelFromCoordinate(coordinate)[1] - limit;
      if (hidden <= 0) return;
      const [easting, northing] = view.getCenter();
      view.setCenter([easting, northing - hidden * view.getResolution()]);
    },
    mark(coordinate) {
      marker.getSource().clear();
      if (coordinate) marker.getSource().addFeature(new Feature(new Point(coordinate)));
    },
    // GetFeatureInfo at the finest resolution: the cell below the pointer, whatever overview is on the screen.
    valuesUrls(coordinate, layerIds) {
      return chunks(layerIds, LAYER_LIMIT).map((some) => {
        const ids = some.join(",");
        const params = { INFO_FORMAT: "application/json", QUERY_LAYERS: ids, LAYERS: ids };
        return probe.getFeatureInfoUrl(coordinate, FINEST, CRS, params);
      });
    },
  };
}

function chunks(list, size) {
  return Array.from({ length: Math.ceil(list.length / size) }, (_, i) => list.slice(i * size, (i + 1) * size));
}

// A colour of the basemap, as style.css has it for the light or the dark page.
function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--map-${name}`).trim();
}
