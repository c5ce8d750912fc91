// The plant at hand: its photos, its place, the answer; kept through a reload. And plants that wait for the network.
import { lang } from "../i18n.js";
import { Refusal, identify as ask, newKey, speciesFacts } from "./api.js";
import { answerOffline, isKept, keptNames } from "./offline/engine.js";
import { MOST, dropPhoto, photoOf } from "./photos.js";
import { prefs } from "./prefs.js";
import { dropTable, dropWaiting, keepTable, keepWaiting, listWaiting, takeTable, updateWaiting } from "./waiting.js";

const CLEAN = { photos: [], place: null, placeFrom: "none", answer: null, refusal: null, taken: null, said: null, given: false };
const TAB = "geoplantnet-identify-tab";
export const UNSERVED = ["offline", "quota", "busy"]; // refusals that say nothing of the photos: the device may answer, or they wait
const REST = 150; // milliseconds after a change before it is written

// asking: the question that is under way; refusal: what became of the last one, if it was none; waiting: the plants in the browser's database;
// given: it was contributed; taken: the one of them that lies on the table; said: {id, name}, what the reader named it while there was no network
export const session = { ...CLEAN, asking: null, waiting: [] };
const listeners = [];

// listener(session) after each change of what is asked, waits or was answered
export const onSession = (listener, signal) => {
  listeners.push(listener);
  signal?.addEventListener("abort", () => listeners.splice(listeners.indexOf(listener), 1));
};
const tell = () => [...listeners].forEach((listener) => listener(session));

// ---- the table

// Of each tab its own; a copy of a tab begins with what lies on the original's.
const tab = () => {
  try {
    const name = sessionStorage.getItem(TAB) ?? newKey();
    sessionStorage.setItem(TAB, name);
    return name;
  } catch {
    return null; // a browser that keeps nothing: a reload clears the table
  }
};

let due = 0;
// What lies on the table now is written soon; a browser that has no room for it goes on without.
function keepSoon() {
  clearTimeout(due);
  due = setTimeout(() => keepNow().catch(() => {}), REST);
}

export async function keepNow() {
  clearTimeout(due);
  const name = tab();
  if (!name) return;
  if (!session.photos.length) return dropTable(name);
  const { place, placeFrom, answer, taken, said, given } = session;
  await keepTable({ tab: name, at: Date.now(), photos: session.photos.map(bare), place, placeFrom, answer, taken, said, given });
}
const bare = ({ name, blob, organ, place, taken }) => ({ name, blob, organ, place, taken });

// What lay on the table before a reload.
export async function restore() {
  const name = tab();
  const table = name && (await takeTable(name).catch(() => null));
  if (!table || session.photos.length) return;
  const { photos, place, placeFrom, answer, taken, said, given = false } = table;
  Object.assign(session, { photos: photos.map(photoOf), place, placeFrom: placeFrom === "device" && !place ? "none" : placeFrom, answer, taken, said, given });
}

// An answer is of what was asked: where that changes there is none, and none to wait for.
function changed() {
  session.asking?.abort();
  Object.assign(session, { answer: null, refusal: null, given: false });
  keepSoon();
  tell();
}

// -> how many of them found no room
export function addPhotos(photos) {
  const room = MOST - session.photos.length;
  photos.slice(room).forEach(dropPhoto);
  session.photos.push(...photos.slice(0, room));
  if (photos.length) changed();
  return Math.max(0, photos.length - room);
}

export function removePhoto(photo) {
  session.photos = session.photos.filter((one) => one !== photo);
  dropPhoto(photo);
  changed();
}

export function setOrgan(photo, organ) {
  photo.organ = organ;
  changed();
}

// place: {longitude, latitude} or null; from: "none", "photo", "device", "typed", "map"
export function setPlace(place, from) {
  Object.assign(session, { place, placeFrom: from });
  changed();
}

// The plant at hand was contributed: once, however often it is confirmed.
export function markGiven() {
  session.given = true;
  keepSoon();
  tell();
}

// A clean table. A plant that had waited is let go of only now, when its answer was seen.
export async function startAnew() {
  const { taken, answer } = session;
  session.asking?.abort();
  session.photos.forEach(dropPhoto);
  Object.assign(session, { ...CLEAN, photos: [] });
  await keepNow().catch(() => {});
  if (taken !== null && answer) await forgetWaiting(taken);
}

// ---- the answer

// The answer of the server, or of the net kept on this device where there is no network, into `session.answer`; what was refused into
// `session.refusal`. It goes on whichever view is shown. -> whether there is an answer.
export async function identify({ reject = true } = {}) {
  session.asking?.abort();
  const asking = new AbortController();
  Object.assign(session, { asking, refusal: null });
  tell();
  try {
    const answer = await answered({ place: session.place, project: prefs.get().project, reject, signal: asking.signal });
    if (!asking.signal.aborted) session.answer = { ...answer, reject };
  } catch (error) {
    if (!asking.signal.aborted) {
      if (error.kind === "no-species") session.answer = { rejected: true, results: [] };
      else session.refusal = error;
    }
  }
  if (session.asking === asking) session.asking = null;
  keepSoon();
  tell();
  return !asking.signal.aborted && session.answer !== null && !session.refusal;
}

export function stopAsking() {
  session.asking?.abort();
}

async function answered(told) {
  try {
    return { ...(await ask(session.photos, told)), offline: false };
  } catch (refusal) {
    if (!UNSERVED.includes(refusal.kind) || !(await isKept())) throw refusal;
    try {
      return { ...(await answerOffline(session.photos, told)), offline: true };
    } catch (error) {
      throw error.kind === "network" ? refusal : new Refusal("device", error.message);
    }
  }
}

// The common names of the answer at hand in the page's language, where they can be had. -> whether anything changed
export async function renameAnswer() {
  const { answer } = session;
  const language = lang();
  const results = (answer?.results ?? []).filter((result) => result.taxonID);
  if (!results.length) return false;
  const names = new Map();
  const find = async (id) => names.set(id, answer.offline ? ((await keptNames(language))[id] ?? []) : (await speciesFacts(id)).commonNames);
  await Promise.allSettled(results.map(({ taxonID }) => find(taxonID)));
  if (session.answer !== answer || lang() !== language || !names.size) return false;
  const named = (result) => (names.has(result.taxonID) ? { ...result, species: { ...result.species, commonNames: names.get(result.taxonID) } } : result);
  session.answer = { ...answer, results: answer.results.map(named) };
  keepSoon();
  return true;
}

// ---- plants that wait

// Keep this plant until the network is back; the table is free for the next. said: {id, name} where the reader knows what it is.
export async function waitForNetwork({ said = null } = {}) {
  await park({ answer: null, said: said ?? session.said });
  session.answer = null; // it was of this device: the plant waits for the server's
  await startAnew();
  await countWaiting();
}

// The plant on the table into the database: as the one it was taken from, else as a new one.
async function park({ answer, said }) {
  const plant = { photos: session.photos.map(bare), place: session.place, at: new Date().toISOString(), answer, refusal: "", said };
  if (session.taken !== null) await updateWaiting({ ...plant, id: session.taken });
  else await keepWaiting(plant);
}

export async function countWaiting() {
  try {
    session.waiting = await listWaiting();
  } catch {
    session.waiting = []; // a browser without a database
  }
  tell();
}

// Lay a plant that waits onto the table, with its answer if it has one. It stays in the database until its answer was seen; what lay on the
// table waits in its place.
export async function takeUp(plant) {
  if (session.photos.length && session.taken === null) {
    await park({ answer: session.answer?.offline ? null : session.answer, said: session.said });
    await countWaiting();
  }
  await startAnew();
  const answer = plant.answer && { ...plant.answer, offline: false, reject: true };
  const { place, said = null } = plant;
  Object.assign(session, { photos: plant.photos.map(photoOf), place, placeFrom: place ? "typed" : "none", answer, taken: plant.id, said });
  keepSoon();
}

export async function forgetWaiting(id) {
  await dropWaiting(id);
  await countWaiting();
}

// Ask about every plant that waits and has no answer yet, in this tab alone. What a plant was refused for is kept with it.
export async function sendWaiting() {
  await countWaiting();
  if (!session.waiting.some(unanswered)) return;
  const send = async (lock) => {
    if (!lock) return; // another tab is at it
    for (const plant of session.waiting.filter(unanswered)) {
      try {
        await updateWaiting({ ...plant, answer: await ask(plant.photos, { place: plant.place, project: prefs.get().project }) });
      } catch (refusal) {
        if (["offline", "quota", "busy", "key"].includes(refusal.kind)) break; // it waits on
        await updateWaiting({ ...plant, refusal: refusal.message });
      }
    }
  };
  await (navigator.locks ? navigator.locks.request("identify-waiting", { ifAvailable: true }, send) : send(true));
  await countWaiting();
}

export const unanswered = (plant) => !plant.answer && !plant.refusal;
