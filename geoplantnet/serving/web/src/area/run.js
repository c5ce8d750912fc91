// Asking the server for a report: at once where the area is small, else as a job that tells how far it is and can be cancelled.
import { t } from "../i18n.js";
import { ServerError, ask, getJson, postJson } from "../server.js";
import { squaresOf } from "./geometry.js";
import { TILE, toMap } from "./shape.js";

export const JSON_TYPE = "application/json";
const URL = "./ogc/processes/area-report/execution";
// Tiles of an area that is answered while one waits; the server would take 16.
const AT_ONCE = 6;
const TOO_LARGE = 413;
const FIRST_MS = 200;
const MOST_MS = 2000;

// inputs: as the process takes them. onProgress(share | null). -> {response} at once or {url} of a job's result
export async function execute(inputs, { map, mediaType = JSON_TYPE, document = false, signal, onProgress }) {
  const body = { inputs, outputs: { report: { format: { mediaType } } } };
  onProgress(null);
  const small = squaresOf(toMap(inputs.area, map), TILE) <= AT_ONCE;
  if (small && !document) {
    try {
      const headers = { Accept: `${mediaType}, application/problem+json`, "Content-Type": JSON_TYPE };
      return { response: await ask(URL, { method: "POST", headers, body: JSON.stringify(body) }, { signal }) };
    } catch (error) {
      if (!(error instanceof ServerError) || error.status !== TOO_LARGE) throw error;
    }
  }
  return { url: await job(body, { signal, onProgress }) };
}

// The report itself, from wherever it came.
export async function report(inputs, options) {
  const { response, url } = await execute(inputs, options);
  return response ? response.json() : getJson(url, { signal: options.signal });
}

async function job(body, { signal, onProgress }) {
  const { jobID } = await postJson(URL, body, { signal, prefer: "respond-async" });
  const address = `./ogc/jobs/${jobID}`;
  // the server stops working for nobody
  const dismiss = () => fetch(address, { method: "DELETE", keepalive: true }).catch(() => {});
  signal.addEventListener("abort", dismiss);
  try {
    for (let wait = FIRST_MS; ; wait = Math.min(wait * 1.5, MOST_MS)) {
      signal.throwIfAborted();
      const told = await getJson(address, { signal });
      if (told.status === "successful") return `${address}/results`;
      if (told.status === "failed") throw new ServerError(told.message, { status: 500 });
      if (told.status === "dismissed") throw new ServerError(t("area.dismissed"), { status: 410 });
      onProgress((told.progress ?? 0) / 100);
      await pause(wait, signal);
    }
  } finally {
    signal.removeEventListener("abort", dismiss);
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(end, milliseconds);
    function end() {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    }
    signal.addEventListener("abort", end);
  });
}
