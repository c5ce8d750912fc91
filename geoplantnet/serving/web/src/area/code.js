// A polygon as text for the address: whole millionths of a degree (about 0.1 m), each position as its distance from the
// one before, in zigzag varints (Protocol Buffers' encoding) of seven bits a byte, in base64url (RFC 4648).
// Nothing is imported here, nor from the page: what an address holds is read the same everywhere.

export const DECIMALS = 6;
// Above it addresses grow beyond what mail programs and chats keep whole.
export const LINK_VERTICES = 2000;
const SCALE = 10 ** DECIMALS;
const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

// A Polygon or MultiPolygon, 2D, of whole millionths of a degree, its rings closed, no position twice in a row: what is
// analysed, linked and hashed. Rings that have shrunk to less than three positions are left out, polygons without a
// shell too; null where nothing is left.
export function rounded(geometry) {
  const polygons = polygonsOf(geometry)
    .map((rings) => {
      const kept = rings.map(roundedRing);
      return kept[0].length > 3 ? kept.filter((ring) => ring.length > 3) : [];
    })
    .filter((rings) => rings.length);
  if (polygons.length === 0) return null;
  return geometry.type === "Polygon" ? { type: "Polygon", coordinates: polygons[0] } : { type: "MultiPolygon", coordinates: polygons };
}

// -> [[ring, ...], ...] whatever of both it is
export function polygonsOf(geometry) {
  return geometry.type === "Polygon" ? [geometry.coordinates] : geometry.coordinates;
}

// How many positions it has, the closing ones among them, as the server counts.
export function vertexCount(geometry) {
  return polygonsOf(geometry).flat().reduce((sum, ring) => sum + ring.length, 0);
}

// -> text, or null for a polygon of more than LINK_VERTICES
export function encode(geometry) {
  if (vertexCount(geometry) > LINK_VERTICES) return null;
  const bytes = [];
  const write = (value) => {
    let rest = value;
    for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
    bytes.push(rest);
  };
  const polygons = polygonsOf(geometry);
  write(geometry.type === "Polygon" ? 0 : polygons.length);
  const last = [0, 0];
  for (const rings of polygons) {
    write(rings.length);
    for (const ring of rings) {
      write(ring.length - 1);
      for (const position of ring.slice(0, -1)) {
        for (const axis of [0, 1]) {
          const whole = Math.round(position[axis] * SCALE);
          const step = whole - last[axis];
          write(step < 0 ? -2 * step - 1 : 2 * step);
          last[axis] = whole;
        }
      }
    }
  }
  return base64url(bytes);
}

// -> geometry, or null for a text that holds none: an address may have been cut or written by hand
export function decode(text) {
  const bytes = bytesOf(text);
  if (!bytes) return null;
  let at = 0;
  const read = () => {
    let value = 0;
    for (let unit = 1; unit <= 2 ** 35; unit *= 128) {
      if (at >= bytes.length) throw new RangeError("cut");
      const byte = bytes[at];
      at += 1;
      value += (byte % 128) * unit;
      if (byte < 128) return value;
    }
    throw new RangeError("long");
  };
  const many = (least) => {
    const count = read();
    if (count < least || count > LINK_VERTICES) throw new RangeError("count");
    return count;
  };
  const last = [0, 0];
  const position = () =>
    [0, 1].map((axis) => {
      const step = read();
      last[axis] += step % 2 ? -(step + 1) / 2 : step / 2;
      if (Math.abs(last[axis]) > (axis ? 90 : 180) * SCALE) throw new RangeError("degrees");
      return last[axis] / SCALE;
    });
  const ring = () => {
    const positions = list(many(3), position);
    return [...positions, [...positions[0]]];
  };
  try {
    const count = read();
    if (count > LINK_VERTICES) return null;
    const polygons = list(count || 1, () => list(many(1), ring));
    if (at !== bytes.length) return null;
    return count === 0 ? { type: "Polygon", coordinates: polygons[0] } : { type: "MultiPolygon", coordinates: polygons };
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

function roundedRing(ring) {
  const positions = ring.map(([lon, lat]) => [Math.round(lon * SCALE) / SCALE + 0, Math.round(lat * SCALE) / SCALE + 0]);
  const kept = positions.filter((position, i) => i === 0 || !same(position, positions[i - 1]));
  while (kept.length > 1 && same(kept[0], kept.at(-1))) kept.pop();
  return [...kept, [...kept[0]]];
}

function same([x0, y0], [x1, y1]) {
  return x0 === x1 && y0 === y1;
}

function list(count, make) {
  const items = [];
  for (let i = 0; i < count; i += 1) items.push(make());
  return items;
}

function base64url(bytes) {
  let text = "";
  for (let i = 0; i < bytes.length; i += 3) {
    const [a, b, c] = [bytes[i], bytes[i + 1], bytes[i + 2]];
    text += ALPHABET[a >> 2] + ALPHABET[((a & 3) << 4) | ((b ?? 0) >> 4)];
    if (b !== undefined) text += ALPHABET[((b & 15) << 2) | ((c ?? 0) >> 6)];
    if (c !== undefined) text += ALPHABET[c & 63];
  }
  return text;
}

function bytesOf(text) {
  if (!text || text.length % 4 === 1) return null;
  const bytes = [];
  let bits = 0;
  let held = 0;
  for (const letter of text) {
    const six = ALPHABET.indexOf(letter);
    if (six < 0) return null;
    held = ((held << 6) | six) & 0xfff;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      bytes.push((held >> bits) & 0xff);
    }
  }
  return bytes;
}
