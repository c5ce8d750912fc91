// The plant at hand: its photos, its place, the answer; and plants that wait for the network.
import { identify as ask } from "./api.js";
import { answerOffline, isKept } from "./offline/engine.js";
import { MOST, dropPhoto, photoOf } from "./photos.js";
import { prefs } from "./prefs.js";
import { dropWaiting, keepWaiting, listWaiting, updateWaiting } from "./waiting.js";

// waiting: the plants in the browser's database; taken: the one of them that lies on the table
export const session = { photos: [], place: null, placeFrom: "none", asked: false, answer: null, waiting: [], taken: null };
const listeners = [];

// listener(session) after each change of what waits or was answered
export const onSession = (listener, signal) => {
  listeners.push(listener);
  signal?.addEventListener("abort", () => listeners.splice(listeners.indexOf(listener), 1));
};
const tell = () => listeners.forEach((listener) => listener(session));

// -> how many of them found no room
export function addPhotos(photos) {
  const room = MOST - session.photos.length;
  photos.slice(room).forEach(dropPhoto);
  session.photos.push(...photos.slice(0, room));
  session.answer = null;
  return Math.max(0, photos.length - room);
}

export function removePhoto(photo) {
  session.photos = session.photos.filter((one) => one !== photo);
  session.answer = null;
  dropPhoto(photo);
}

// A clean table. A plant that had waited is let go of only now, when its answer was seen.
export async function startAnew() {
  const { taken, answer } = session;
  session.photos.forEach(dropPhoto);
  Object.assign(session, { photos: [], place: null, placeFrom: "none", asked: false, answer: null, taken: null });
  if (taken !== null && answer) await forgetWaiting(taken);
}

// The answer of the server, or of the net kept on this device where there is no network. Raises Refusal.
export async function identify({ reject = true, signal } = {}) {
  const told = { place: session.place, project: prefs.get().project, reject, signal };
  let answer;
  try {
    answer = { ...(await ask(session.photos, told)), offline: false };
  } catch (refusal) {
    if (refusal.kind !== "offline" || !(await isKept())) throw refusal;
    answer = { ...(await answerOffline(session.photos, told)), offline: true };
  }
  session.answer = { ...answer, reject };
  tell();
}

// Keep this plant until the network is back; the table is free for the next.
export async function waitForNetwork() {
  await park({ answer: null });
  await startAnew();
  await countWaiting();
}

// The plant on the table into the database: as the one it was taken from, else as a new one.
async function park({ answer }) {
  const photos = session.photos.map(({ name, blob, organ, place, taken }) => ({ name, blob, organ, place, taken }));
  const plant = { photos, place: session.place, at: new Date().toISOString(), answer, refusal: "" };
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
    await park({ answer: session.answer?.offline ? null : session.answer });
    await countWaiting();
  }
  await startAnew();
  const answer = plant.answer && { ...plant.answer, offline: false, reject: true };
  Object.assign(session, { photos: plant.photos.map(photoOf), place: plant.place, placeFrom: plant.place ? "typed" : "none", answer, taken: plant.id });
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

const unanswered = (plant) => !plant.answer && !plant.refusal;
