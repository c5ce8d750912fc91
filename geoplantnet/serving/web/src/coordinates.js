// Coordinates as people type them: "46.48, 8.01", "46°28'N 8°E", "8.01 E 46.48 N", metres of EPSG:3035.
import { EUROPE } from "./extent.js";

const LETTERS = { n: ["latitude", 1], s: ["latitude", -1], e: ["longitude", 1], w: ["longitude", -1], o: ["longitude", -1] };
// degrees, minutes and seconds with their signs
const DEGREES = `([+-]?\\d+(?:\\.\\d+)?)\\s*(?:[°º]\\s*(?:(\\d+(?:\\.\\d+)?)\\s*['′’]\\s*(?:(\\d+(?:\\.\\d+)?)\\s*(?:"|″|”|''|′′)\\s*)?)?)?`;

// -> {lonLat} in degrees, or {metres: [easting, northing]}, or {error: key of the strings, values}
// `french`: O is ouest (in German it is east, so elsewhere it is not understood), and a comma may stand before decimals.
export function parseCoordinates(typed, { french = false } = {}) {
  const text = typed.trim().replace(/−/g, "-").replace(/\s+/g, " ");
  if (!text) return { error: "coordinates.empty" };
  const parts = split(text, french);
  if (!parts) return { error: "coordinates.unreadable", values: { text: typed.trim() } };
  if (parts.length === 1) return { error: "coordinates.one", values: { text: typed.trim() } };
  if (parts.length > 2) return { error: "coordinates.unreadable", values: { text: typed.trim() } };
  const [first, second] = parts;
  if (!first.axis && !second.axis && Math.abs(first.value) > 180 && Math.abs(second.value) > 180) return metres(first.value, second.value);
  if (first.axis && first.axis === second.axis) return { error: "coordinates.twice", values: { text: typed.trim(), axis: first.axis } };
  const swapped = first.axis === "longitude" || second.axis === "latitude";
  const [lat, lon] = swapped ? [second.value, first.value] : [first.value, second.value];
  if (Math.abs(lat) > 90) return { error: "coordinates.range", values: { axis: "latitude", value: String(lat), limit: 90 } };
  if (Math.abs(lon) > 180) return { error: "coordinates.range", values: { axis: "longitude", value: String(lon), limit: 180 } };
  return { lonLat: [lon, lat] };
}

function metres(easting, northing) {
  const [west, south, east, north] = EUROPE;
  if (easting < west || easting > east || northing < south || northing > north) {
    return { error: "coordinates.metres", values: { easting, northing } };
  }
  return { metres: [easting, northing] };
}

// "46,48 8,01" and "46,48; 8,01" have decimal commas, "46.48, 8.01" has a comma between; "46, 8" has one between too.
function split(text, french) {
  const commas = (text.match(/,/g) ?? []).length;
  const commaIsPoint = commas > 0 && !text.includes(".") && (/;/.test(text) || commas >= 2 || (french && /\d,\d+\s+\S/.test(text)));
  const clean = commaIsPoint ? text.replace(/(\d),(\d)/g, "$1.$2") : text;
  const letters = french ? "nsewo" : "nsew";
  const first = new RegExp(`^[${letters}]`, "i").test(clean);
  const pattern = new RegExp(first ? `([${letters}])\\s*${DEGREES}` : `${DEGREES}\\s*([${letters}](?![a-z]))?`, "iy");
  const gap = /[\s,;/]*/y;
  const parts = [];
  for (let from = 0; from < clean.length; ) {
    pattern.lastIndex = from;
    const match = pattern.exec(clean);
    const read = match && part(...(first ? [match[1], match[2], match[3], match[4]] : [match[4], match[1], match[2], match[3]]));
    if (!read) return null;
    parts.push(read);
    gap.lastIndex = pattern.lastIndex;
    gap.exec(clean);
    from = gap.lastIndex;
  }
  return parts;
}

function part(letter, degrees, minutes, seconds) {
  const [m, s] = [Number(minutes ?? 0), Number(seconds ?? 0)];
  if (m >= 60 || s >= 60) return null;
  const [axis, sign] = LETTERS[letter?.toLowerCase()] ?? [null, 1];
  const size = Math.abs(Number(degrees)) + m / 60 + s / 3600;
  return { value: sign * (degrees.startsWith("-") ? -size : size), axis };
}
