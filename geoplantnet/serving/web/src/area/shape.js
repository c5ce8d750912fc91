// A polygon between the page (longitude, latitude, whole millionths of a degree) and the map (metres of EPSG:3035).
import { polygonsOf, rounded } from "./code.js";
import { areaOf, problemOf } from "./geometry.js";

export const CELL = 50; // metres
export const TILE = 25_000; // metres
const MICRO = 1e6;

export function toMap(geometry, map) {
  return polygonsOf(geometry).map((rings) => rings.map((ring) => ring.map((position) => map.coordinate(position))));
}

// -> geometry, rounded, or null where nothing of it is left
export function fromMap(polygons, map) {
  const degrees = polygons.map((rings) => rings.map((ring) => ring.map((position) => map.lonLat(position))));
  return rounded(degrees.length === 1 ? { type: "Polygon", coordinates: degrees[0] } : { type: "MultiPolygon", coordinates: degrees });
}

// What the server would find wrong: it looks at the polygon in degrees, and at its image on the grid. Edges are in metres.
export function faultOf(geometry, map) {
  if (!geometry) return { kind: "flat", edges: [] };
  const onMap = problemOf(toMap(geometry, map));
  if (onMap) return onMap;
  const whole = polygonsOf(geometry).map((rings) => rings.map((ring) => ring.map(([lon, lat]) => [Math.round(lon * MICRO), Math.round(lat * MICRO)])));
  const inDegrees = problemOf(whole);
  if (!inDegrees) return null;
  const edges = inDegrees.edges.map((edge) => edge.map(([lon, lat]) => map.coordinate([lon / MICRO, lat / MICRO])));
  return { kind: inDegrees.kind, edges };
}

export function km2Of(polygons) {
  return areaOf(polygons) / 1e6;
}

export function cellsOf(km2) {
  return Math.round((km2 * 1e6) / CELL ** 2);
}
