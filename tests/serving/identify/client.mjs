// A program as integrators write it for Pl@ntNet's API: photos and organs in a form, the key in the query, errors by status. Nothing but Node.
// node client.mjs BASE KEY PHOTO [PHOTO ...] -> a line of JSON with what was answered
import { readFile } from "node:fs/promises";
import path from "node:path";

const [base, key, ...photos] = process.argv.slice(2);

async function ask(url, options) {
  const response = await fetch(url, options);
  const text = await response.text();
  return { status: response.status, limit: response.headers.get("ratelimit"), retry: response.headers.get("retry-after"), body: JSON.parse(text) };
}

async function identify(project, files, organs, query = {}) {
  const form = new FormData();
  for (const [i, file] of files.entries()) {
    form.append("organs", organs[i] ?? "auto");
    form.append("images", new Blob([await readFile(file)], { type: "image/jpeg" }), path.basename(file));
  }
  const url = new URL(`/v2/identify/${project}`, base);
  for (const [name, value] of Object.entries({ ...query, "api-key": key })) url.searchParams.set(name, value);
  return ask(url, { method: "POST", body: form });
}

const told = {
  status: await ask(new URL("/v2/_status", base)),
  projects: await ask(new URL(`/v2/projects?lang=fr&api-key=${key}`, base)),
  languages: await ask(new URL(`/v2/languages?api-key=${key}`, base)),
  one: await identify("all", photos.slice(0, 1), ["flower"], { lang: "fr", "nb-results": 3 }),
  several: await identify("all", photos, ["flower", "leaf"], { "include-related-images": true, "no-reject": true }),
  unknown: await identify("nowhere", photos.slice(0, 1), ["flower"]),
  empty: await identify("all", [], []),
  quota: await ask(new URL(`/v2/quota/daily?api-key=${key}`, base)),
};
const storm = await Promise.all(Array.from({ length: 12 }, () => identify("all", photos.slice(0, 1), ["leaf"])));
told.storm = storm.map(({ status }) => status).sort();
told.spent = storm.find(({ status }) => status === 429) ?? null;
console.log(JSON.stringify(told));
