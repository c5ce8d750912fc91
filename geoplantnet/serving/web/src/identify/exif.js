// What a camera wrote into a photo: where and when. Read here, in the browser; what is sent holds none of it.
// Exif 2.3 (CIPA DC-008): JPEG segment APP1, PNG chunk eXIf, both a TIFF structure.

const GPS_IFD = 0x8825;
const EXIF_IFD = 0x8769;
const TAKEN = 0x9003; // DateTimeOriginal
const [LATITUDE_REF, LATITUDE, LONGITUDE_REF, LONGITUDE] = [1, 2, 3, 4];
const SIZES = { 1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 9: 4, 10: 8 };
const MOST_TAGS = 512;

// The bytes of a file -> {place: {longitude, latitude} or null, taken: "2026-05-12" or null}. Never throws: a photo that tells nothing is fine.
export function readExif(buffer) {
  try {
    const view = new DataView(buffer);
    const start = tiffOf(view);
    return start === null ? { place: null, taken: null } : readTiff(new DataView(buffer, start));
  } catch {
    return { place: null, taken: null }; // cut short, or offsets that point beside the file
  }
}

function tiffOf(view) {
  if (view.getUint16(0) === 0xffd8) return inJpeg(view);
  if (view.getUint32(0) === 0x89504e47) return inPng(view);
  return null;
}

function inJpeg(view) {
  for (let at = 2; at + 4 <= view.byteLength && view.getUint8(at) === 0xff; ) {
    const marker = view.getUint8(at + 1);
    if (marker === 0xda) return null; // the pixels begin
    if (marker === 0xe1 && view.getUint32(at + 4) === 0x45786966) return at + 10; // "Exif"
    at += 2 + view.getUint16(at + 2);
  }
  return null;
}

function inPng(view) {
  for (let at = 8; at + 12 <= view.byteLength; at += 12 + view.getUint32(at)) {
    if (view.getUint32(at + 4) === 0x65584966) return at + 8; // "eXIf"
  }
  return null;
}

function readTiff(view) {
  const little = view.getUint16(0) === 0x4949;
  const first = tagsOf(view, view.getUint32(4, little), little);
  const exif = first.has(EXIF_IFD) ? tagsOf(view, first.get(EXIF_IFD)[0], little) : new Map();
  const gps = first.has(GPS_IFD) ? tagsOf(view, first.get(GPS_IFD)[0], little) : new Map();
  return { place: placeOf(gps), taken: dayOf(exif.get(TAKEN)) };
}

function tagsOf(view, at, little) {
  const tags = new Map();
  const count = Math.min(view.getUint16(at, little), MOST_TAGS);
  for (let i = 0; i < count; i += 1) {
    const entry = at + 2 + 12 * i;
    const type = view.getUint16(entry + 2, little);
    const n = view.getUint32(entry + 4, little);
    if (!(type in SIZES) || n > MOST_TAGS) continue;
    const from = SIZES[type] * n > 4 ? view.getUint32(entry + 8, little) : entry + 8;
    tags.set(view.getUint16(entry, little), valuesOf(view, from, type, n, little));
  }
  return tags;
}

function valuesOf(view, from, type, n, little) {
  const each = (read) => Array.from({ length: n }, (_, i) => read(from + SIZES[type] * i));
  if (type === 2) return String.fromCharCode(...each((at) => view.getUint8(at))).replace(/\0.*$/s, "");
  if (type === 3) return each((at) => view.getUint16(at, little));
  if (type === 4) return each((at) => view.getUint32(at, little));
  if (type === 5) return each((at) => view.getUint32(at, little) / view.getUint32(at + 4, little));
  if (type === 10) return each((at) => view.getInt32(at, little) / view.getInt32(at + 4, little));
  return each((at) => view.getUint8(at));
}

// Cameras without a fix write 0, 0 or NaN: that is no place.
function placeOf(gps) {
  const latitude = degrees(gps.get(LATITUDE), gps.get(LATITUDE_REF), "S");
  const longitude = degrees(gps.get(LONGITUDE), gps.get(LONGITUDE_REF), "W");
  const sound = Math.abs(latitude) <= 90 && Math.abs(longitude) <= 180 && !(latitude === 0 && longitude === 0);
  return sound ? { longitude, latitude } : null;
}

function degrees(parts, reference, negative) {
  if (!Array.isArray(parts) || parts.length < 3) return NaN;
  const size = parts[0] + parts[1] / 60 + parts[2] / 3600;
  return String(reference).trim().toUpperCase() === negative ? -size : size;
}

// "2026:05:12 10:11:12" -> "2026-05-12"
function dayOf(text) {
  const match = /^(\d{4}):(\d{2}):(\d{2})/.exec(typeof text === "string" ? text : "");
  return match && Number(match[1]) > 0 ? match.slice(1).join("-") : null;
}
