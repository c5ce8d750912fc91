// Build dist/ from src/: one script, one style sheet, the page, Europe's countries, the licences of what is bundled; and the same for
// dist/identify/, which works without a network: its service worker knows the files it must keep.
// Same sources and lock file, same bytes: no dates, no hashes in names, no source maps.
import { createHash } from "node:crypto";
import { readFile, readdir, rm, mkdir, writeFile, copyFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import * as esbuild from "esbuild";
import { merge, mesh } from "topojson-client";

const here = path.dirname(fileURLToPath(import.meta.url));
const src = path.join(here, "src");
const dist = path.join(here, "dist");
// West, south, east, north in degrees: what EPSG:3035 can show without folding.
const EUROPE = [-32, 26, 58, 74];
// Degrees: about 500 m, half a line's width at 1:10 million, the source's scale.
const TOLERANCE = 0.005;
const DECIMALS = 3;
// Packages whose licence is not among their files.
const LICENCES = { "onnxruntime-web": "src/identify/offline/LICENSE.onnxruntime", "onnxruntime-common": "src/identify/offline/LICENSE.onnxruntime" };

await rm(dist, { recursive: true, force: true });
await mkdir(dist, { recursive: true });
const metafile = await bundle({ app: "src/main.js", style: "src/style.css" });
await copyFile(path.join(src, "index.html"), path.join(dist, "index.html"));
await copyFile(path.join(src, "icon.svg"), path.join(dist, "icon.svg"));
await writeFile(path.join(dist, "countries.json"), JSON.stringify(await countries()) + "\n");
await writeFile(
  path.join(dist, "THIRD_PARTY.txt"),
  await licences(metafile, ["world-atlas"], ["Countries: Natural Earth 1:10m (public domain), by way of world-atlas, cut to Europe."]),
);
await identify();
await writeFile(path.join(dist, "SOURCES.sha256"), await sourceHashes());

async function bundle(entryPoints, define = {}) {
  const { metafile: meta } = await esbuild.build({
    absWorkingDir: here,
    entryPoints,
    outdir: "dist",
    bundle: true,
    minify: true,
    format: "esm",
    target: ["chrome109", "firefox115", "safari16.4"],
    define,
    legalComments: "none", // the licences stand in THIRD_PARTY.txt
    logLevel: "warning",
    metafile: true,
  });
  return meta;
}

// The page of identification: its scripts and style, the engine for answers without a network (packed: the page unpacks it, whatever
// the server does), icons, manifest, and a service worker that is told what belongs to the page and what version that is.
async function identify() {
  const out = path.join(dist, "identify");
  await mkdir(out, { recursive: true });
  const engine = await readFile(path.join(here, "node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm"));
  const packed = gzipSync(engine, { level: 9 });
  const constants = { ENGINE_SHA256: JSON.stringify(createHash("sha256").update(engine).digest("hex")), ENGINE_BYTES: String(packed.length) };
  const meta = await bundle({ "identify/app": "src/identify/main.js", "identify/style": "src/identify/style.css", "identify/worker": "src/identify/offline/worker.js" }, constants);
  for (const file of ["index.html", "manifest.webmanifest", "icon-192.png", "icon-512.png", "icon-maskable-512.png"]) {
    await copyFile(path.join(src, "identify", file), path.join(out, file));
  }
  await copyFile(path.join(src, "icon.svg"), path.join(out, "icon.svg"));
  await writeFile(path.join(out, "engine.wasm.gz"), packed);
  await writeFile(
    path.join(out, "THIRD_PARTY.txt"),
    await licences(meta, ["onnxruntime-web"], ["What onnxruntime-web itself is built of: ENGINE_NOTICES.txt.", "engine.wasm.gz: ort-wasm-simd-threaded.wasm of onnxruntime-web, packed."]),
  );
  await copyFile(path.join(src, "identify/offline/ENGINE_NOTICES.txt"), path.join(out, "ENGINE_NOTICES.txt"));
  // "./" is the page itself; the engine is kept with the net, when the reader asks for it.
  const shell = ["app.js", "style.css", "worker.js", "manifest.webmanifest", "icon.svg", "icon-192.png"];
  const hash = createHash("sha256");
  for (const file of ["index.html", ...shell]) hash.update(await readFile(path.join(out, file)));
  await bundle({ "identify/sw": "src/identify/sw.js" }, { SHELL: JSON.stringify(["./", ...shell.map((file) => `./${file}`)]), VERSION: JSON.stringify(hash.digest("hex").slice(0, 16)) });
}

// Land and borders of Europe from Natural Earth 1:10m: {unit, land: polygons of rings, borders: lines}, each line as `steps` writes it.
async function countries() {
  const world = JSON.parse(await readFile(path.join(here, "node_modules/world-atlas/countries-10m.json"), "utf8"));
  const land = merge(world, world.objects.countries.geometries);
  const borders = mesh(world, world.objects.countries, (a, b) => a !== b);
  return {
    unit: 10 ** -DECIMALS,
    land: land.coordinates
      .filter((polygon) => meetsEurope(polygon[0]))
      .map((polygon) => polygon.map((ring) => simple(frame(ring))).filter((ring) => ring.length > 3).map(steps)),
    borders: borders.coordinates.filter(meetsEurope).map((line) => steps(simple(frame(line)))),
  };
}

// A line as whole numbers of `unit` degrees: x, y of the first vertex, then the way to each next one (as TopoJSON does); a third of the bytes.
function steps(line) {
  const whole = line.map((point) => point.map((degrees) => Math.round(degrees * 10 ** DECIMALS)));
  return whole.flatMap(([x, y], i) => (i ? [x - whole[i - 1][0], y - whole[i - 1][1]] : [x, y]));
}

function meetsEurope(line) {
  const [west, south, east, north] = EUROPE;
  return line.some(([x, y]) => x >= west && x <= east && y >= south && y <= north);
}

// What lies beyond Europe is pressed onto a frame around it, out of sight.
function frame(line) {
  const [west, south, east, north] = EUROPE;
  return line.map(([x, y]) => [Math.min(Math.max(x, west - 8), east + 8), Math.min(Math.max(y, south - 4), north + 4)]);
}

// Douglas and Peucker (1973): drop vertices nearer than TOLERANCE to the line through their neighbours. Rings are cut
// in two at the vertex farthest from their start.
function simple(line) {
  const keep = new Uint8Array(line.length);
  keep[0] = keep[line.length - 1] = 1;
  const closed = distance(line[0], line.at(-1)) === 0;
  const far = closed ? line.reduce((best, point, i) => (distance(point, line[0]) > distance(line[best], line[0]) ? i : best), 0) : 0;
  keep[far] = 1;
  const stack = [[0, far], [far, line.length - 1]];
  while (stack.length) {
    const [from, to] = stack.pop();
    let worst = TOLERANCE;
    let at = -1;
    for (let i = from + 1; i < to; i += 1) {
      const off = offset(line[i], line[from], line[to]);
      if (off > worst) [worst, at] = [off, i];
    }
    if (at < 0) continue;
    keep[at] = 1;
    stack.push([from, at], [at, to]);
  }
  return line.filter((_, i) => keep[i]).map((point) => point.map((degrees) => +degrees.toFixed(DECIMALS)));
}

// Degrees between two points, a degree of longitude shortened as at 50 north.
function distance([x0, y0], [x1, y1]) {
  return Math.hypot((x1 - x0) * 0.64, y1 - y0);
}

function offset(point, from, to) {
  const [dx, dy] = [(to[0] - from[0]) * 0.64, to[1] - from[1]];
  const [px, py] = [(point[0] - from[0]) * 0.64, point[1] - from[1]];
  const length = dx * dx + dy * dy;
  const t = length ? Math.min(Math.max((px * dx + py * dy) / length, 0), 1) : 0;
  return Math.hypot(px - t * dx, py - t * dy);
}

// The licence text of every package whose code or data is in dist, sorted by name.
async function licences(meta, more, remarks) {
  const names = new Set(more);
  for (const input of Object.keys(meta.inputs)) {
    const match = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (match) names.add(match[1]);
  }
  const parts = [
    "Software and data bundled in this folder, with their licences.",
    ...remarks,
  ];
  for (const name of [...names].sort()) {
    const folder = path.join(here, "node_modules", name);
    const manifest = JSON.parse(await readFile(path.join(folder, "package.json"), "utf8"));
    const text = (await readFile(await licenceOf(name, folder, manifest), "utf8")).trim();
    parts.push(`${"=".repeat(78)}\n${name} ${manifest.version} (${manifest.license})\n${"=".repeat(78)}\n${text}`);
  }
  return parts.join("\n\n") + "\n";
}

async function licenceOf(name, folder, manifest) {
  const file = (await readdir(folder)).sort().find((entry) => /^licen[cs]e/i.test(entry));
  if (file) return path.join(folder, file);
  if (LICENCES[name]) return path.join(here, LICENCES[name]);
  throw new Error(`${name} ${manifest.version} ships no licence file; add its text before bundling it`);
}

async function sources() {
  const entries = await readdir(src, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => path.relative(here, path.join(entry.parentPath, entry.name)).split(path.sep).join("/"));
}

// What dist was built from, in the format of sha256sum: the tests compare it with src.
async function sourceHashes() {
  const files = ["build.mjs", "package-lock.json", ...(await sources())].sort();
  const lines = await Promise.all(
    files.map(async (file) => `${createHash("sha256").update(await readFile(path.join(here, file))).digest("hex")}  ${file}\n`),
  );
  return lines.join("");
}
