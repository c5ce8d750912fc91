// Photos as they are taken in: read, made small enough to send, and without anything but their pixels.
import { readExif } from "./exif.js";

export const MOST = 5;
export const ORGANS = ["auto", "leaf", "flower", "fruit", "bark", "habit", "other"];
const LONGEST = 1600; // pixels of the longer side: nets look at less, and a phone's photo becomes a tenth of its bytes
const QUALITY = 0.9;

// kind: "unreadable" (no picture this browser knows), "small" (too few pixels to show anything)
export class PhotoError extends Error {
  constructor(kind, name) {
    super(`${name}: ${kind}`);
    this.kind = kind;
    this.name = name;
  }
}

let made = 0;

// A file -> {id, name, blob, url, width, height, organ, place, taken}; the blob is a JPEG, upright, its EXIF gone. Raises PhotoError.
export async function readPhoto(file) {
  let bitmap;
  let told;
  try {
    told = readExif(await file.arrayBuffer()); // a file that lies in the cloud may not come
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new PhotoError("unreadable", file.name);
  }
  const { width, height } = bitmap;
  if (Math.min(width, height) < 32) throw new PhotoError("small", file.name);
  const scale = Math.min(1, LONGEST / Math.max(width, height));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff"; // what is transparent becomes paper, not black
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
  if (!blob) throw new PhotoError("unreadable", file.name);
  return photoOf({ name: file.name, blob, organ: "auto", ...told });
}

// A photo again, from what was kept of it.
export function photoOf({ name, blob, organ, place, taken }) {
  return { id: `photo-${(made += 1)}`, name, blob, url: URL.createObjectURL(blob), organ, place, taken };
}

export function dropPhoto(photo) {
  URL.revokeObjectURL(photo.url);
}
