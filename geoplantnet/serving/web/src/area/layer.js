// The areas on the map: a dark line in a light halo stands out on every palette, by day and by night; the second is dashed.
import Feature from "ol/Feature.js";
import LineString from "ol/geom/LineString.js";
import MultiPoint from "ol/geom/MultiPoint.js";
import MultiPolygon from "ol/geom/MultiPolygon.js";
import Point from "ol/geom/Point.js";
import VectorLayer from "ol/layer/Vector.js";
import VectorSource from "ol/source/Vector.js";
import { Circle, Fill, Stroke, Style, Text } from "ol/style.js";

const DARK = "#10231a";
const LIGHT = "#ffffff";
const FAULT = "#d3261a";

const halo = new Style({ stroke: new Stroke({ color: LIGHT, width: 6 }) });
const line = (lineDash) => new Style({ stroke: new Stroke({ color: DARK, width: 2.5, lineDash }) });
const knot = (radius, color) =>
  new Style({ image: new Circle({ radius, fill: new Fill({ color }), stroke: new Stroke({ color: DARK, width: 2.5 }) }) });
const fault = [
  new Style({ stroke: new Stroke({ color: LIGHT, width: 9 }) }),
  new Style({ stroke: new Stroke({ color: FAULT, width: 5 }) }),
];

// -> {paint(areas), sketch(drawn), clear()}: areas are what stands chosen, the sketch is what is being drawn or edited
export function createAreaLayer(ol) {
  const chosen = new VectorLayer({ className: "areas", source: new VectorSource(), zIndex: 20, updateWhileInteracting: true });
  const drawn = new VectorLayer({ className: "areas", source: new VectorSource(), zIndex: 21, updateWhileInteracting: true });
  chosen.setStyle((feature) => {
    const { letter, named } = feature.getProperties();
    const styles = [halo, line(letter === "B" ? [9, 7] : undefined)];
    if (named) {
      const text = new Text({ text: letter, font: "700 15px system-ui, sans-serif", fill: new Fill({ color: DARK }), stroke: new Stroke({ color: LIGHT, width: 5 }), overflow: true });
      styles.push(new Style({ text }));
    }
    return styles;
  });
  drawn.setStyle((feature) => STYLES[feature.get("as")]);
  ol.addLayer(chosen);
  ol.addLayer(drawn);
  return {
    // [{letter, polygons}]: the letters are written where there are two
    paint(areas) {
      chosen.getSource().clear();
      for (const { letter, polygons } of areas) {
        chosen.getSource().addFeature(new Feature({ geometry: new MultiPolygon(polygons), letter, named: areas.length > 1 }));
      }
    },
    // points: vertices placed; tip: where the next would be; closed: drawn as an area; fault: edges that are wrong
    sketch({ points = [], tip = null, polygons = null, faults = [], selected = null }) {
      const features = [];
      const add = (as, geometry) => features.push(new Feature({ geometry, as }));
      if (polygons) add("area", new MultiPolygon(polygons));
      if (points.length > 1) add("line", new LineString(points));
      if (tip && points.length) add("tip", new LineString(points.length > 1 ? [points.at(-1), tip, points[0]] : [points[0], tip]));
      for (const edge of faults) add("fault", new LineString(edge));
      const knots = polygons ? polygons.flat().flatMap((ring) => ring.slice(0, -1)) : points;
      if (knots.length) add("knots", new MultiPoint(knots));
      if (selected) add("selected", new Point(selected));
      drawn.getSource().clear();
      drawn.getSource().addFeatures(features);
      return features.find((feature) => feature.get("as") === "area") ?? null;
    },
    clear: () => drawn.getSource().clear(),
    // what Snap snaps to
    source: chosen.getSource(),
  };
}

const STYLES = {
  area: [halo, line()],
  line: [halo, line()],
  tip: [new Style({ stroke: new Stroke({ color: LIGHT, width: 5 }) }), new Style({ stroke: new Stroke({ color: DARK, width: 2, lineDash: [4, 6] }) })],
  fault,
  knots: [knot(6.5, LIGHT)],
  selected: [knot(10, "#ffd84d")],
};
