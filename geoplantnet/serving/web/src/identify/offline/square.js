// The one preparation of a photo for a net, as `geoplantnet.identify.photos.square` does it, bit for bit: the central square, resized by
// Pillow's bicubic filter (a = -0.5), which averages over what it takes away, in whole numbers of 2^-22; every pass ends in bytes.

const BITS = 22; // 32 less the 8 of a byte less 2 to spare
const HALF = 2 ** (BITS - 1);

// image: {width, height, data: RGBA} -> Uint8Array (size, size, 3)
export function square({ width, height, data }, size) {
  const side = Math.min(width, height);
  const across = weights(width, (width - side) / 2, side, size);
  const down = weights(height, (height - side) / 2, side, size);
  const image = { width, height, step: 4, data };
  // Pillow 13 takes a tall image's height first; told by its answers, of all shapes to 90 pixels a side.
  const made = size < height && height - size > 2 * (width - size) ? acrossOf(downOf(image, down, size), across, size) : downOf(acrossOf(image, across, size), down, size);
  return new Uint8Array(made.data.buffer);
}

// Every row of an image made `size` pixels long.
function acrossOf({ width, height, step, data }, { from, many, most, of }, size) {
  const out = new Uint8ClampedArray(size * height * 3);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < size; x += 1) {
      let [r, g, b] = [HALF, HALF, HALF];
      let at = (y * width + from[x]) * step;
      for (let k = 0; k < many[x]; k += 1, at += step) {
        const weight = of[x * most + k];
        r += data[at] * weight;
        g += data[at + 1] * weight;
        b += data[at + 2] * weight;
      }
      const to = (y * size + x) * 3;
      out[to] = r >> BITS;
      out[to + 1] = g >> BITS;
      out[to + 2] = b >> BITS;
    }
  }
  return { width: size, height, step: 3, data: out };
}

// Every column of an image made `size` pixels high.
function downOf({ width, step, data }, { from, many, most, of }, size) {
  const out = new Uint8ClampedArray(width * size * 3);
  for (let y = 0; y < size; y += 1) {
    for (let x = 0; x < width; x += 1) {
      let [r, g, b] = [HALF, HALF, HALF];
      let at = (from[y] * width + x) * step;
      for (let k = 0; k < many[y]; k += 1, at += width * step) {
        const weight = of[y * most + k];
        r += data[at] * weight;
        g += data[at + 1] * weight;
        b += data[at + 2] * weight;
      }
      const to = (y * width + x) * 3;
      out[to] = r >> BITS;
      out[to + 1] = g >> BITS;
      out[to + 2] = b >> BITS;
    }
  }
  return { width, height: size, step: 3, data: out };
}

// What each of `size` outputs takes of `length` inputs, of which those from `start` on, `side` long, are wanted.
function weights(length, start, side, size) {
  const scale = side / size;
  const wide = Math.max(scale, 1);
  const support = 2 * wide;
  const most = Math.ceil(support) * 2 + 1;
  const from = [];
  const many = [];
  const of = new Int32Array(size * most);
  for (let i = 0; i < size; i += 1) {
    const centre = start + (i + 0.5) * scale;
    const low = Math.max(0, Math.trunc(centre - support + 0.5));
    const high = Math.min(length, Math.trunc(centre + support + 0.5));
    const some = Array.from({ length: high - low }, (_, k) => bicubic((k + low - centre + 0.5) * (1 / wide)));
    const sum = some.reduce((total, weight) => total + weight, 0);
    for (const [k, weight] of some.entries()) {
      const share = (weight / sum) * 2 ** BITS;
      of[i * most + k] = Math.trunc(share < 0 ? share - 0.5 : share + 0.5);
    }
    from.push(low);
    many.push(high - low);
  }
  return { from, many, most, of };
}

// Keys (1981), Cubic convolution interpolation for digital image processing, a = -0.5.
function bicubic(x) {
  const d = Math.abs(x);
  if (d < 1) return (1.5 * d - 2.5) * d * d + 1;
  if (d < 2) return (((d - 5) * d + 8) * d - 4) * -0.5;
  return 0;
}
