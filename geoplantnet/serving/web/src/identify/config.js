// What this server offers, asked once. Without an answer, what needs none of it still works.
import { configuration } from "./api.js";

const NOTHING = { title: "", languages: ["en"], maps: false, places: true, model: null, store: false, licences: [] };
let config = NOTHING;

export async function configure() {
  try {
    const told = await configuration();
    config = { ...NOTHING, ...told };
    // The worker does not see the very first visit: what the server offers is kept from here, too.
    if (globalThis.caches) caches.open("identify-config").then((cache) => cache.put("./config.json", Response.json(told))).catch(() => {});
  } catch {
    config = NOTHING;
  }
  return config;
}

export const offers = () => config;
