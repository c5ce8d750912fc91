// The one preparation of a photo for a net, as `geoplantnet.identify.photos.square` does it, bit for bit: the central square, resized by
// Pillow's bicubic filter (a = -0.5), which averages over what it takes away; in whole numbers of 2^-22, columns first, then rows.

const BITS = 22; // 32 less the 8 of a byte less 2 to spare
const HALF = 2 ** (BITS - 1);

// image: {width, height, data: RGBA} -> Uint8Array (size, size, 3)
export function square({ width, height, data }, size) {
  const side = Math.min(width, height);
  const across = weights(width, (width - side) / 2, side, size);
  const down = weights(height, (height - side) / 2, side, size);
  const first = Math.min(...down.from);
  const last = Math.max(...down.from.map((from, i) => from + down.many[i]));
  const narrow = new Uint8ClampedArray((last - first) * size * 3);
  for (let y = first; y < last; y += 1) {
    for (let x = 0; x < size; x += 1) {
      let [r, g, b] = [HALF, HALF, HALF];
      let at = (y * width + across.from[x]) * 4;
      for (let k = 0; k < across.many[x]; k += 1, at += 4) {
        const weight = across.of[x * across.most + k];
        r += data[at] * weight;
        g += data[at + 1] * weight;
        b += data[at + 2] * weight;
      }
      const to = ((y - first) * size + x) * 3;
      narrow[to] = r >> BITS;
      narrow[to + 1] = g >> BITS;
      narrow[to + 2] = b >> BITS;
    }
  }
  const out = new Uint8ClampedArray(size * size * 3);
  for (let y = 0; y < size; y += 1) {
    for (let x = 0; x < size * 3; x += 1) {
      let sum = HALF;
      let at = (down.from[y] - first) * size * 3 + x;
      for (let k = 0; k < down.many[y]; k += 1, at += size * 3) sum += narrow[at] * down.of[y * down.most + k];
      out[y * size * 3 + x] = sum >> BITS;
    }
  }
  return new Uint8Array(out.buffer);
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
