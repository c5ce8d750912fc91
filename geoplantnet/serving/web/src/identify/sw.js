// The service worker: the page's own files come from here, so that it opens without a network. Answers of the API are never kept.
/* global SHELL, VERSION */

const PAGE = `identify-page-${VERSION}`;
const CONFIG = "identify-config";

self.addEventListener("install", (event) => {
  event.waitUntil(
    caches.open(PAGE).then((cache) => cache.addAll(SHELL.map((file) => new Request(file, { cache: "reload" })))),
  );
});

// Other versions' files go; the net that the reader keeps (caches named identify-model-...) stays.
self.addEventListener("activate", (event) => {
  event.waitUntil(
    caches
      .keys()
      .then((names) => Promise.all(names.filter((name) => name.startsWith("identify-page-") && name !== PAGE).map((name) => caches.delete(name))))
      .then(() => self.clients.claim()),
  );
});

self.addEventListener("message", (event) => {
  if (event.data === "take over") self.skipWaiting();
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const scope = new URL(self.registration.scope);
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== scope.origin || !url.pathname.startsWith(scope.pathname)) return;
  const file = `./${url.pathname.slice(scope.pathname.length)}`;
  if (file === "./config.json") event.respondWith(freshOrKept(request));
  else if (request.mode === "navigate" || file === "./index.html") event.respondWith(kept("./", request));
  else if (SHELL.includes(file)) event.respondWith(kept(file, request));
});

async function kept(file, request) {
  const cache = await caches.open(PAGE);
  return (await cache.match(file)) ?? fetch(request);
}

async function freshOrKept(request) {
  const cache = await caches.open(CONFIG);
  const last = await cache.match("./config.json");
  const fresh = fetch(request).then(async (response) => {
    if (response.ok) await cache.put("./config.json", response.clone());
    return response;
  });
  if (!last) return fresh;
  const patience = new Promise((resolve) => setTimeout(resolve, 2_000, last)); // a network that never answers is none
  return Promise.race([fresh.catch(() => last), patience]);
}
