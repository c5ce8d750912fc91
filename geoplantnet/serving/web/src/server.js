// Requests to the server, and its silence or refusal in words for a person.
import { t } from "./i18n.js";

const PATIENCE = 60_000; // milliseconds before a silent server is called silent

// What went wrong, to be shown as it is. `status` 0: no answer at all. `problem`: the server's own document. `retryAfter`: that header.
export class ServerError extends Error {
  constructor(message, { status = 0, problem = null, retryAfter = null } = {}) {
    super(message);
    this.status = status;
    this.problem = problem;
    this.retryAfter = retryAfter;
  }
}

export function getJson(url, { signal } = {}) {
  return json(url, { headers: { Accept: "application/json" } }, signal);
}

// prefer: the Prefer header, such as "respond-async". -> the answer's JSON
export function postJson(url, body, { signal, prefer } = {}) {
  const headers = { Accept: "application/json", "Content-Type": "application/json", ...(prefer ? { Prefer: prefer } : {}) };
  return json(url, { method: "POST", headers, body: JSON.stringify(body) }, signal);
}

async function json(url, init, signal) {
  const response = await ask(url, init, { signal });
  try {
    return await response.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ServerError(t("server.no-json"), { status: response.status });
  }
}

// A Response that is ok, or a ServerError; an abort by `signal` stays what it is.
export async function ask(url, init = {}, { signal, patience = PATIENCE } = {}) {
  const abort = new AbortController();
  const silence = setTimeout(() => abort.abort(), patience);
  const pass = () => abort.abort();
  signal?.addEventListener("abort", pass);
  let response;
  try {
    signal?.throwIfAborted();
    response = await fetch(url, { ...init, signal: abort.signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ServerError(t("server.silent"));
  } finally {
    clearTimeout(silence);
    signal?.removeEventListener("abort", pass);
  }
  if (response.ok) return response;
  let problem = null;
  try {
    problem = await response.json();
  } catch {
    // a proxy's page, not the server's problem document
  }
  const { status } = response;
  const words = problem?.detail ?? t(status === 503 ? "server.busy" : status >= 500 ? "server.broken" : "server.refused", { status: String(status) });
  throw new ServerError(words, { status, problem, retryAfter: response.headers.get("Retry-After") });
}
