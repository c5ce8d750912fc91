// Where the model extrapolates, as stripes: tiles of the layer `applicability` are read, and what lies outside is painted.

const INSIDE = 1; // the class of cells that are like the plots learnt from
const PERIOD = 8; // px between stripes; divides 512, so that they run on from tile to tile

// urlOf(z, x, y) -> address of a tile's image. -> a loader for OpenLayers' ImageTile source
export function hatchOf(layer, urlOf, dark) {
  const outside = layer.classes.filter(({ value }) => value !== INSIDE).map(({ color }) => rgb(color));
  return async (z, x, y, { signal }) => {
    const response = await fetch(urlOf(z, x, y), { signal });
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    const image = await createImageBitmap(await response.blob());
    const canvas = document.createElement("canvas");
    canvas.width = image.width;
    canvas.height = image.height;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const picture = context.getImageData(0, 0, canvas.width, canvas.height);
    stripe(picture, outside, dark() ? [255, 255, 255] : [20, 20, 20]);
    context.putImageData(picture, 0, 0);
    return canvas;
  };
}

// In place: pixels outside become ink along diagonals with a light edge, all else is clear.
export function stripe({ data, width }, outside, ink) {
  for (let i = 0; i < data.length; i += 4) {
    const hit = data[i + 3] > 0 && outside.some(([r, g, b]) => data[i] === r && data[i + 1] === g && data[i + 2] === b);
    const step = ((i / 4) % width + Math.floor(i / 4 / width)) % PERIOD;
    const stroke = hit && step < 3 ? (step === 1 ? ink : ink.map((part) => 255 - part)) : null;
    data[i + 3] = stroke ? (step === 1 ? 235 : 90) : 0;
    if (stroke) [data[i], data[i + 1], data[i + 2]] = stroke;
  }
}

function rgb(color) {
  return [1, 3, 5].map((at) => Number.parseInt(color.slice(at, at + 2), 16));
}
