// The net on this device: fetched when the reader asks for it, checked, kept in the browser's cache, run in a worker.
import { answerOf } from "./answer.js";
import { square } from "./square.js";
import { lang } from "../../i18n.js";
/* global ENGINE_BYTES, ENGINE_SHA256 */

const PREFIX = "identify-model-";
const FILES = ["model.onnx", "labels.json", "projects.json", "names.json"]; // of the offline folder; similar images need the network
const OPTIONAL = new Set(["projects.json", "names.json"]);
const MARK = "./model/kept.json"; // written last: a cache without it is half a download
const ENGINE = "./engine.wasm.gz";

// kind: "damaged" (bytes that do not have their hash), "full" (no room), "network"
class KeepError extends Error {
  constructor(kind, words) {
    super(words);
    this.kind = kind;
  }
}

// What is fetched now, {bytes, total}, or null; it goes on whichever view is shown.
let fetching = null;
let stopFetching = null;
const listeners = [];
export const keeping = () => fetching;
// listener({bytes, total}) as bytes come; at the end listener({ended}): "ready", "stopped", or the kind of a KeepError
export function onKeeping(listener, signal) {
  listeners.push(listener);
  signal.addEventListener("abort", () => listeners.splice(listeners.indexOf(listener), 1));
}
function tell(state) {
  fetching = state.ended ? null : state;
  for (const listener of [...listeners]) listener(state);
}
export const stopKeeping = () => stopFetching?.abort();

// Fetch the folder and the engine, check their hashes, keep them. size: bytes of the folder, as told. -> how it ended, as listeners are told.
export async function keep(size) {
  stopFetching?.abort();
  const mine = (stopFetching = new AbortController());
  const total = size + ENGINE_BYTES;
  let bytes = 0;
  const more = (n) => mine === stopFetching && tell({ bytes: (bytes += n), total });
  more(0);
  let ended = "ready";
  try {
    await fetchAll(more, mine.signal, () => bytes);
    stop();
    await navigator.storage?.persist?.(); // asked for, so that a full disk does not take it away; a no changes nothing
  } catch (error) {
    ended = mine.signal.aborted ? "stopped" : (error.kind ?? "network");
  }
  if (mine === stopFetching) {
    stopFetching = null;
    tell({ ended });
  }
  return ended;
}

async function fetchAll(more, signal, soFar) {
  const cardBytes = await fetched("./model/card.json", more, signal);
  const card = JSON.parse(new TextDecoder().decode(cardBytes));
  const name = `${PREFIX}${card.version}`;
  await caches.delete(name);
  try {
    const cache = await caches.open(name);
    for (const file of FILES) {
      if (OPTIONAL.has(file) && !(file in card.files)) continue;
      const data = await fetched(`./model/${file}`, more, signal);
      check(file, await sha256(data), card.files[file]);
      await cache.put(`./model/${file}`, new Response(data));
    }
    await keepEngine(cache, more, signal);
    await cache.put("./model/card.json", new Response(cardBytes));
    await cache.put(MARK, Response.json({ version: card.version, bytes: soFar(), at: new Date().toISOString(), engine: ENGINE_SHA256 }));
  } catch (error) {
    await caches.delete(name);
    if (error.name === "QuotaExceededError") throw new KeepError("full", error.message);
    throw error;
  }
  for (const other of await caches.keys()) if (other.startsWith(PREFIX) && other !== name) await caches.delete(other);
}

// The engine that this page's scripts were built with: another one would not fit them.
async function keepEngine(cache, more, signal) {
  const data = await fetched(ENGINE, more, signal);
  check("the engine", await sha256(await unpacked(data)), ENGINE_SHA256);
  await cache.put(ENGINE, new Response(data));
}

function check(what, found, wanted) {
  if (found !== wanted) throw new KeepError("damaged", `${what} has the hash ${found}, ${wanted} was expected`);
}

// A net that was kept by an older page gets this page's engine. Raises KeepError.
export async function renewEngine() {
  const kept = await keptModel();
  if (!kept || kept.engine === ENGINE_SHA256) return;
  const cache = await caches.open(kept.cache);
  await keepEngine(cache, () => {}, undefined);
  const { cache: _, ...mark } = kept;
  await cache.put(MARK, Response.json({ ...mark, engine: ENGINE_SHA256 }));
  stop();
}

export async function forget() {
  stopKeeping();
  stop();
  for (const name of await caches.keys()) if (name.startsWith(PREFIX)) await caches.delete(name);
}

// -> {version, bytes, at} or null
export async function keptModel() {
  if (!("caches" in window)) return null; // an address without https
  for (const name of await caches.keys()) {
    if (!name.startsWith(PREFIX)) continue;
    const mark = await (await caches.open(name)).match(MARK);
    if (mark) return { ...(await mark.json()), cache: name };
  }
  return null;
}

export const isKept = async () => (await keptModel()) !== null;

// Common names of its species, {taxonID: names}, in a language.
export async function keptNames(language) {
  const kept = await keptModel();
  const names = kept && (await (await caches.open(kept.cache)).match("./model/names.json"));
  return names ? ((await names.json())[language] ?? {}) : {};
}

// The answer of the net kept here, in the shape of /v2/identify, without similar images.
export async function answerOffline(photos, { project = "all", reject = true } = {}) {
  const { card, labels, projects, names, run } = await ready();
  const size = card.size;
  const pixels = new Uint8Array(photos.length * size * size * 3);
  for (const [i, photo] of photos.entries()) pixels.set(square(await pixelsOf(photo.blob), size), i * size * size * 3);
  const outputs = await run(pixels.slice(), photos.length, size); // the worker takes its own
  return answerOf(outputs, pixels, { card, labels, projects, names, organs: photos.map(({ organ }) => organ), project, reject, language: lang() });
}

let running = null;

function stop() {
  running?.then(({ worker }) => worker.terminate()).catch(() => {});
  running = null;
}

// The folder read and the worker started, once.
function ready() {
  running ??= start().catch((error) => {
    running = null;
    throw error;
  });
  return running;
}

async function start() {
  await renewEngine();
  const kept = await keptModel();
  const cache = await caches.open(kept.cache);
  const json = async (file, otherwise) => (await cache.match(`./model/${file}`))?.json() ?? otherwise;
  const [card, labels, projects, names] = await Promise.all([json("card.json"), json("labels.json"), json("projects.json", null), json("names.json", {})]);
  const [model, engine] = await Promise.all([cache.match("./model/model.onnx").then((one) => one.arrayBuffer()), cache.match(ENGINE).then((one) => one.arrayBuffer())]);
  const worker = new Worker(new URL("./worker.js", document.baseURI), { type: "module" });
  const ask = (message, transfer) =>
    new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => (data.error ? reject(new Error(data.error)) : resolve(data));
      worker.onerror = (event) => reject(new Error(event.message || "the worker did not start"));
      worker.postMessage(message, transfer);
    });
  const wasm = await unpacked(engine);
  await ask({ model, wasm }, [model, wasm]);
  let last = Promise.resolve(); // one question at a time
  const run = (pixels, n, size) => (last = last.catch(() => {}).then(() => ask({ pixels, n, size }, [pixels.buffer])));
  return { card, labels, projects, names, run, worker };
}

// gzip as it was shipped; a server that says so in its headers has had it unpacked by the browser already
async function unpacked(data) {
  const head = new Uint8Array(data, 0, 2);
  if (head[0] !== 0x1f || head[1] !== 0x8b) return data;
  return new Response(new Blob([data]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

async function fetched(address, more, signal) {
  let response;
  try {
    response = await fetch(address, { signal, cache: "no-cache" });
    if (!response.ok) throw new KeepError("network", `${address}: HTTP ${response.status}`);
    const parts = [];
    for (const reader = response.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      more(value.length);
      parts.push(value);
    }
    return await new Blob(parts).arrayBuffer();
  } catch (error) {
    if (error instanceof KeepError || signal?.aborted) throw error;
    throw new KeepError("network", error.message);
  }
}

async function sha256(data) {
  const digest = await crypto.subtle.digest("SHA-256", data);
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// A photo's pixels, {width, height, data: RGBA}
async function pixelsOf(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, canvas.width, canvas.height);
}
