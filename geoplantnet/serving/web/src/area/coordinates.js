// A polygon as lines of text that a person can read and write: latitude, longitude; one position a line.
import { polygonsOf } from "./code.js";

// words: {hole, polygon}, what stands before a hole and before a further polygon
export function toText(geometry, words) {
  const lines = polygonsOf(geometry).flatMap((rings, p) => [
    ...(p ? [`# ${words.polygon}`] : []),
    ...rings.flatMap((ring, r) => [...(r ? [`# ${words.hole}`] : []), ...ring.slice(0, -1).map(([lon, lat]) => `${lat.toFixed(6)}, ${lon.toFixed(6)}`)]),
  ]);
  return lines.join("\n");
}

// -> {geometry} or {line, kind}: the line that cannot be read, from 1, and why ("position", "degrees", "few")
export function fromText(text, words) {
  const polygons = [[[]]];
  let line = 0;
  for (const raw of text.split("\n")) {
    line += 1;
    const told = raw.trim();
    if (told === "") continue;
    if (told.startsWith("#")) {
      const word = told.slice(1).trim().toLowerCase();
      if (polygons.at(-1).at(-1).length < 3) return { line, kind: "few" };
      if (word === words.hole.toLowerCase()) polygons.at(-1).push([]);
      else if (word === words.polygon.toLowerCase()) polygons.push([[]]);
      else return { line, kind: "position" };
      continue;
    }
    const position = positionOf(told);
    if (!position) return { line, kind: "position" };
    if (Math.abs(position[0]) > 90 || Math.abs(position[1]) > 180) return { line, kind: "degrees" };
    polygons.at(-1).at(-1).push([position[1], position[0]]);
  }
  if (polygons.some((rings) => rings.some((ring) => ring.length < 3))) return { line, kind: "few" };
  const closed = polygons.map((rings) => rings.map((ring) => [...ring, [...ring[0]]]));
  return { geometry: closed.length === 1 ? { type: "Polygon", coordinates: closed[0] } : { type: "MultiPolygon", coordinates: closed } };
}

// "46.5, 8.1", "46.5 8.1" or, with decimal commas, "46,5; 8,1" -> [latitude, longitude]
function positionOf(text) {
  const number = "([-+]?\\d+(?:\\.\\d+)?)";
  const plain = text.includes(";") ? text.replaceAll(",", ".") : text;
  const match = new RegExp(`^${number}\\s*°?(?:\\s*[,;]\\s*|\\s+)${number}\\s*°?$`).exec(plain);
  return match ? [Number(match[1]), Number(match[2])] : null;
}
