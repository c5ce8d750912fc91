// The routes of /v2 that the page asks, and refusals in words for a person.
import { lang, number, t } from "../i18n.js";
import { ServerError, ask } from "../server.js";
import { prefs } from "./prefs.js";

const ROOT = new URL("../v2/", document.baseURI);
export const SITE = new URL("../", document.baseURI);

// A request that was refused or not answered. kind: "offline", "key", "no-species", "large", "format", "quota", "busy", "missing", "refused", "broken".
export class Refusal extends Error {
  constructor(kind, words, { status = 0, again = null, detail = "" } = {}) {
    super(words);
    this.kind = kind;
    this.status = status;
    this.again = again;
    this.detail = detail;
  }
}

const KINDS = { 401: "key", 403: "key", 404: "missing", 413: "large", 415: "format", 429: "quota", 503: "busy" };

// path below /v2/, or below another root; query: values that are null are left out. -> JSON. Raises Refusal.
async function call(path, { root = ROOT, query = {}, method = "GET", form = null, body = null, signal } = {}) {
  const url = new URL(path, root);
  for (const [name, value] of Object.entries(query)) if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, value);
  const headers = { Accept: "application/json" };
  if (prefs.get().key) headers["Api-Key"] = prefs.get().key;
  if (body) headers["Content-Type"] = "application/json";
  try {
    const response = await ask(url, { method, headers, body: form ?? (body && JSON.stringify(body)) ?? undefined }, { signal });
    return response.status === 204 ? null : await response.json();
  } catch (error) {
    if (!(error instanceof ServerError)) {
      if (signal?.aborted) throw error;
      throw new Refusal("broken", t("error.broken"));
    }
    throw refusalOf(error);
  }
}

function refusalOf(error) {
  const { status, problem, retryAfter } = error;
  if (!status) return new Refusal("offline", t("error.offline"));
  const detail = problem?.message ?? problem?.detail ?? "";
  const rejected = status === 404 && (problem?.rejected || /species not found/i.test(detail)); // other servers of this API say it in words alone
  const kind = rejected ? "no-species" : (KINDS[status] ?? (status >= 500 ? "broken" : "refused"));
  const again = momentOf(retryAfter);
  const when = again ? t("error.again", { when: clock(again) }) : "";
  const words = t(`error.${kind}`, { status: String(status), detail });
  return new Refusal(kind, [words, when].filter(Boolean).join(" "), { status, again, detail });
}

// Retry-After: seconds, or a date.
function momentOf(text) {
  if (!text) return null;
  const moment = /^\d+$/.test(text) ? new Date(Date.now() + 1000 * Number(text)) : new Date(text);
  return Number.isNaN(moment.getTime()) ? null : moment;
}

function clock(moment) {
  const minutes = Math.ceil((moment - Date.now()) / 60_000);
  if (minutes <= 1) return t("error.in-a-minute");
  if (minutes < 60) return t("error.in-minutes", { n: minutes });
  return t("error.at", { time: moment.toLocaleString(lang() === "fr" ? "fr-FR" : "en-GB", { weekday: "long", hour: "2-digit", minute: "2-digit" }) });
}

export const configuration = () => call("./config.json", { root: document.baseURI });
// A document of the maps beside this page.
export const siteJson = (path, { signal } = {}) => call(path, { root: SITE, signal });

// photos: [{blob, name, organ}], place: {longitude, latitude} or null -> the answer of /v2/identify
export function identify(photos, { place = null, project = "all", reject = true, signal } = {}) {
  const form = new FormData();
  for (const [i, photo] of photos.entries()) {
    form.append("images", photo.blob, `photo-${i + 1}.jpg`); // the file's own name stays here
    form.append("organs", photo.organ);
  }
  for (const [name, value] of Object.entries(degrees(place))) form.append(name, value); // not in the address: logs keep addresses
  const query = { lang: lang(), "nb-results": 10, "include-related-images": true, detailed: true, "no-reject": reject ? null : true };
  return call(`identify/${encodeURIComponent(project)}`, { method: "POST", query, form, signal });
}

const degrees = (place) => (place ? { lat: place.latitude.toFixed(4), lon: place.longitude.toFixed(4) } : {});

export const projects = (place, { signal } = {}) => call("projects", { query: { lang: lang(), ...degrees(place) }, signal });

export const findSpecies = (typed, { signal } = {}) =>
  call("species", { query: { lang: lang(), prefix: typed, pageSize: 12, page: 1 }, signal });

export const speciesFacts = (id, { signal } = {}) => call(`species/${encodeURIComponent(id)}`, { query: { lang: lang() }, signal });

export const reviewQueue = ({ after = null, signal } = {}) =>
  call("observations/review", { query: { lang: lang(), limit: 10, after }, signal });

export const ownObservations = ({ after = null, signal } = {}) => call("observations/own", { query: { lang: lang(), limit: 20, after }, signal });

// For good.
export const withdraw = (id) => call(`observations/${encodeURIComponent(id)}`, { method: "DELETE" });

// what: {species: taxonID}, or {kind: "not_a_plant"} and such; key: of this vote, so that it counts once however often it is sent
export const vote = (id, what, key) => call(votesOn(id, what), { method: "POST", body: { ...what, key } });

// The vote cast before is taken back; key: of this act.
export const takeVoteBack = (id, what, key) => call(votesOn(id, what), { method: "POST", body: { key } });

const votesOn = (id, { kind = "determination" }) => `observations/${encodeURIComponent(id)}/votes/${kind}`;

// The client's own name of an act. `crypto.randomUUID` is there on https alone.
export const newKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

// photos as above; told: {species, license, author, date, lat, lon, key}; the same key twice is kept once
export function contribute(photos, told) {
  const form = new FormData();
  for (const [i, photo] of photos.entries()) {
    form.append("images", photo.blob, `photo-${i + 1}.jpg`);
    form.append("organs", photo.organ);
  }
  for (const [name, value] of Object.entries(told)) if (value !== null && value !== "") form.append(name, value);
  return call("observations", { method: "POST", form });
}

// The day's quota in words, where an answer tells what is left.
export const leftToday = (answer) =>
  Number.isFinite(answer.remainingIdentificationRequests) ? t("answer.left", { n: answer.remainingIdentificationRequests, count: number(answer.remainingIdentificationRequests) }) : "";
