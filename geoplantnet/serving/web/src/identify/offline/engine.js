// The net on this device: fetched when the reader asks for it, checked, kept in the browser's cache, run in a worker.
import { answerOf } from "./answer.js";
import { square } from "./square.js";
import { lang } from "../../i18n.js";

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

// Fetch the folder and the engine, check the hashes its card tells, keep them. progress(bytes) as they come. Raises KeepError.
export async function keep({ progress, signal }) {
  let bytes = 0;
  const more = (n) => progress((bytes += n));
  const cardBytes = await fetched("./model/card.json", more, signal);
  const card = JSON.parse(new TextDecoder().decode(cardBytes));
  const name = `${PREFIX}${card.version}`;
  await caches.delete(name);
  try {
    const cache = await caches.open(name);
    for (const file of FILES) {
      if (OPTIONAL.has(file) && !(file in card.files)) continue;
      const data = await fetched(`./model/${file}`, more, signal);
      const found = await sha256(data);
      if (found !== card.files[file]) throw new KeepError("damaged", `${file} has the hash ${found}, the card says ${card.files[file]}`);
      await cache.put(`./model/${file}`, new Response(data));
    }
    await cache.put(ENGINE, new Response(await fetched(ENGINE, more, signal)));
    await cache.put("./model/card.json", new Response(cardBytes));
    await cache.put(MARK, new Response(JSON.stringify({ version: card.version, bytes, at: new Date().toISOString() })));
  } catch (error) {
    await caches.delete(name);
    if (error.name === "QuotaExceededError") throw new KeepError("full", error.message);
    throw error;
  }
  for (const other of await caches.keys()) if (other.startsWith(PREFIX) && other !== name) await caches.delete(other);
  stop();
  await navigator.storage?.persist?.(); // asked for, so that a full disk does not take it away; a no changes nothing
}

export async function forget() {
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
