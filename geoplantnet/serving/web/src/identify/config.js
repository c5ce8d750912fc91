// What this server offers, asked once. Without an answer, what needs none of it still works.
import { configuration } from "./api.js";

const NOTHING = { title: "", languages: ["en"], maps: false, model: null, store: false, licences: [] };
let config = NOTHING;

export async function configure() {
  try {
    config = { ...NOTHING, ...(await configuration()) };
  } catch {
    config = NOTHING;
  }
  return config;
}

export const offers = () => config;
