// Whether a polygon is one, and how large. Plane geometry on plain arrays: rings are closed lists of [x, y] (metres of
// EPSG:3035, where areas are true, or millionths of a degree); a polygon is [shell, hole, ...].

// m2 of polygons in metres of EPSG:3035, holes taken off.
export function areaOf(polygons) {
  return polygons.reduce((sum, rings) => sum + rings.reduce((left, ring, i) => left + (i ? -1 : 1) * Math.abs(signedArea(ring)), 0), 0);
}

// What is wrong with polygons, as the server would find it, or null:
// {kind, edges: [[from, to], ...]} with kind one of
//   "crossing" a ring crosses or touches itself, or another ring crosses it
//   "flat"     a ring has no area
//   "outside"  a hole lies outside its shell
//   "nested"   a hole lies in a hole
//   "overlap"  one polygon lies in another
export function problemOf(polygons) {
  for (const ring of polygons.flat()) {
    if (ring.length < 4 || signedArea(ring) === 0) return { kind: "flat", edges: ring.slice(1).map((to, i) => [ring[i], to]) };
  }
  const crossing = crossingOf(polygons.flat(), polygons.flatMap((rings, p) => rings.map(() => p)));
  if (crossing) return { kind: "crossing", edges: crossing };
  for (const [shell, ...holes] of polygons) {
    for (const [i, hole] of holes.entries()) {
      if (!lies(hole, shell)) return { kind: "outside", edges: edgesOf(hole) };
      const other = holes.find((one, j) => j !== i && lies(hole, one));
      if (other) return { kind: "nested", edges: edgesOf(hole) };
    }
  }
  for (const [i, [shell]] of polygons.entries()) {
    const inside = polygons.some(([outer, ...holes], j) => j !== i && lies(shell, outer) && !holes.some((hole) => lies(shell, hole)));
    if (inside) return { kind: "overlap", edges: edgesOf(shell) };
  }
  return null;
}

// Of a line that is being drawn: its first two edges that cross or touch, or null. The last edge may end on the first vertex.
export function crossingOfPath(points) {
  for (let i = 1; i < points.length; i += 1) {
    for (let j = 1; j < i; j += 1) {
      const [a, b, c, d] = [points[j - 1], points[j], points[i - 1], points[i]];
      if (j === i - 1 ? turnsBack(a, b, d) : meet(a, b, c, d)) return [[a, b], [c, d]];
    }
  }
  return null;
}

// West, south, east, north.
export function boundsOf(polygons) {
  const all = polygons.flat(2);
  const [xs, ys] = [all.map(([x]) => x), all.map(([, y]) => y)];
  const least = (values) => values.reduce((a, b) => Math.min(a, b));
  const most = (values) => values.reduce((a, b) => Math.max(a, b));
  return [least(xs), least(ys), most(xs), most(ys)];
}

// How many squares of `size` metres its bounds touch: no less than the tiles it meets.
export function squaresOf(polygons, size) {
  const [west, south, east, north] = boundsOf(polygons);
  const across = Math.floor(east / size) - Math.floor(west / size) + 1;
  return across * (Math.floor(north / size) - Math.floor(south / size) + 1);
}

function signedArea(ring) {
  // relative to the first vertex: coordinates of millions of metres would eat the digits of a small ring
  const [x0, y0] = ring[0];
  let sum = 0;
  for (let i = 1; i < ring.length; i += 1) {
    sum += (ring[i - 1][0] - x0) * (ring[i][1] - y0) - (ring[i][0] - x0) * (ring[i - 1][1] - y0);
  }
  return sum / 2;
}

function edgesOf(ring) {
  return ring.slice(1).map((to, i) => [ring[i], to]);
}

// Two edges that no valid polygon has, found by a sweep from west to east. owners: of each ring, its polygon.
function crossingOf(rings, owners) {
  const edges = rings.flatMap((ring, r) =>
    edgesOf(ring).map(([a, b], i, all) => ({ a, b, r, i, last: all.length - 1, west: Math.min(a[0], b[0]), east: Math.max(a[0], b[0]) })),
  );
  edges.sort((one, other) => one.west - other.west);
  const touches = [];
  let open = [];
  for (const edge of edges) {
    open = open.filter(({ east }) => east >= edge.west);
    for (const other of open) {
      if (Math.max(other.a[1], other.b[1]) < Math.min(edge.a[1], edge.b[1])) continue;
      if (Math.min(other.a[1], other.b[1]) > Math.max(edge.a[1], edge.b[1])) continue;
      const [first, second] = edge.r === other.r && edge.i < other.i ? [edge, other] : [other, edge];
      const pair = [[first.a, first.b], [second.a, second.b]];
      if (edge.r === other.r) {
        if (first.i + 1 === second.i) {
          if (turnsBack(first.a, first.b, second.b)) return pair;
        } else if (first.i === 0 && second.i === second.last) {
          if (turnsBack(second.a, second.b, first.b)) return pair;
        } else if (meet(first.a, first.b, second.a, second.b)) return pair;
      } else if (cross(first.a, first.b, second.a, second.b)) {
        return pair;
      } else {
        const at = touch(first.a, first.b, second.a, second.b);
        if (at) touches.push({ at, rings: [first.r, second.r], pair });
      }
    }
    open.push(edge);
  }
  return throughTouch(rings, owners, touches);
}

// Rings may touch in a point. Where they do, the two edges of each must not go through the other: seen from the point,
// those of one lie between those of the other. Two rings of a polygon that touch in two points cut its inside in two.
function throughTouch(rings, owners, touches) {
  const seen = new Map();
  for (const { at, rings: [r, s], pair } of touches) {
    const key = [r, s].sort((a, b) => a - b).join();
    const points = seen.get(key) ?? [];
    if (points.every(([x, y]) => x !== at[0] || y !== at[1])) points.push(at);
    seen.set(key, points);
    if (points.length > 1 && owners[r] === owners[s]) return pair;
    const ways = (ring) => directions(ring, at);
    const one = ways(rings[r]);
    const other = ways(rings[s]);
    if (one.length === 2 && other.length === 2) {
      const turn = (way) => (Math.atan2(way[1], way[0]) - Math.atan2(one[0][1], one[0][0]) + 4 * Math.PI) % (2 * Math.PI);
      const limit = turn(one[1]);
      const [p, q] = other.map(turn);
      if (p < limit !== q < limit) return pair;
    }
  }
  return null;
}

// The two ways a ring leaves a point on it.
function directions(ring, [x, y]) {
  const at = ring.findIndex(([px, py], i) => i < ring.length - 1 && px === x && py === y);
  if (at >= 0) {
    const before = ring[at === 0 ? ring.length - 2 : at - 1];
    return [before, ring[at + 1]].map(([px, py]) => [px - x, py - y]);
  }
  const edge = edgesOf(ring).find(([a, b]) => side(a, b, [x, y]) === 0 && within(a, b, [x, y]));
  return edge ? edge.map(([px, py]) => [px - x, py - y]) : [];
}

// Left (> 0) or right (< 0) of the line from a to b, or on it. Exact for whole numbers below 2^26.
function side([ax, ay], [bx, by], [px, py]) {
  return Math.sign((bx - ax) * (py - ay) - (by - ay) * (px - ax));
}

function within([ax, ay], [bx, by], [px, py]) {
  return px >= Math.min(ax, bx) && px <= Math.max(ax, bx) && py >= Math.min(ay, by) && py <= Math.max(ay, by);
}

// Edges that pass through each other, or lie on each other.
function cross(a, b, c, d) {
  const [s, t, u, v] = [side(a, b, c), side(a, b, d), side(c, d, a), side(c, d, b)];
  if (s === 0 && t === 0) {
    const axis = a[0] === b[0] ? 1 : 0;
    const low = Math.max(Math.min(a[axis], b[axis]), Math.min(c[axis], d[axis]));
    return low < Math.min(Math.max(a[axis], b[axis]), Math.max(c[axis], d[axis]));
  }
  return s * t < 0 && u * v < 0;
}

// Where the end of one edge lies on the other, or null.
function touch(a, b, c, d) {
  if (side(a, b, c) === 0 && within(a, b, c)) return c;
  if (side(a, b, d) === 0 && within(a, b, d)) return d;
  if (side(c, d, a) === 0 && within(c, d, a)) return a;
  if (side(c, d, b) === 0 && within(c, d, b)) return b;
  return null;
}

function meet(a, b, c, d) {
  return cross(a, b, c, d) || touch(a, b, c, d) !== null;
}

// Whether c lies on the way from a to b, seen from b: a spike.
function turnsBack(a, b, c) {
  return side(a, b, c) === 0 && (c[0] - b[0]) * (a[0] - b[0]) + (c[1] - b[1]) * (a[1] - b[1]) > 0;
}

// Whether a ring lies in another, which it does not cross: the first of its vertices or middles of edges that is not on the other's line tells.
function lies(ring, outer) {
  const middles = edgesOf(ring).map(([a, b]) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2]);
  const probe = [...ring, ...middles].find((point) => !edgesOf(outer).some(([a, b]) => side(a, b, point) === 0 && within(a, b, point)));
  return probe === undefined || contains(outer, probe);
}

function contains(ring, [x, y]) {
  let inside = false;
  for (const [[ax, ay], [bx, by]] of edgesOf(ring)) {
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
  }
  return inside;
}
