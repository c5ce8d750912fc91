// The page of identification: the address says which view is shown; the session outlives the views.
import { announce } from "../announce.js";
import { at } from "../dom.js";
import { lang, onLanguage, preferred, setLanguage, t, teach } from "../i18n.js";
import { showAnswer } from "./answer.js";
import { showCapture } from "./capture.js";
import { configure } from "./config.js";
import { renewEngine } from "./offline/engine.js";
import { prefs } from "./prefs.js";
import { showOwn } from "./own.js";
import { showReview } from "./review.js";
import { keepNow, renameAnswer, restore, sendWaiting, session } from "./session.js";
import { showSettings } from "./settings.js";
import { showSpecies } from "./species.js";
import en from "./strings/en.js";
import fr from "./strings/fr.js";

// A view writes itself into `root`; `signal` is aborted when it is left; `redraw()` draws the view that is shown. -> the page's title
const VIEWS = { identify: showCapture, answer: showAnswer, species: showSpecies, review: showReview, settings: showSettings, own: showOwn };
const TABS = { answer: "identify", own: "settings" };

const PATIENCE = 2_500; // ms for what the server offers
const REST = 150; // ms without scrolling

let leaving = new AbortController();
let started = false;

teach({ en, fr });
setLanguage(prefs.get().lang ?? preferred());
for (const node of document.querySelectorAll("[data-lang]")) {
  const paint = () => node.setAttribute("aria-pressed", String(node.dataset.lang === lang()));
  node.addEventListener("click", () => {
    prefs.set({ lang: node.dataset.lang });
    setLanguage(node.dataset.lang);
  });
  onLanguage(paint);
  paint();
}
onLanguage(async () => {
  show({ quiet: true });
  if ((await renameAnswer()) && document.documentElement.dataset.view === "answer") show({ quiet: true });
});

const system = window.matchMedia("(prefers-color-scheme: dark)");
const dress = () => {
  const { theme } = prefs.get();
  document.documentElement.dataset.theme = theme === "dark" || (theme === "auto" && system.matches) ? "dark" : "light";
};
system.addEventListener("change", dress);
prefs.on(dress);
dress();

const network = () => (at("network").hidden = navigator.onLine);
window.addEventListener("offline", network);
window.addEventListener("online", () => {
  network();
  if (prefs.get().sendWaiting) sendWaiting();
});
network();
// A phone that opens its camera may end the page behind it.
document.addEventListener("visibilitychange", () => document.hidden && keepNow().catch(() => {}));
// The hash is the address of a view: going to the content must not change it.
at("skip").addEventListener("click", (event) => {
  event.preventDefault();
  at("view").focus();
});
window.addEventListener("hashchange", () => show());
// The way back leads to where the reader stood; a view that is new begins at its top.
history.scrollRestoration = "manual";
let resting = 0;
window.addEventListener("scroll", () => {
  clearTimeout(resting);
  resting = setTimeout(() => history.replaceState({ top: window.scrollY }, ""), REST);
});
if ("serviceWorker" in navigator) navigator.serviceWorker.register("./sw.js").then((registration) => registration && follow(registration), () => {}); // without it the page needs the network, and works
start();

// A newer page that was fetched takes over when the reader says so: what lies on the table is there again after it.
function follow(registration) {
  const offer = () => (at("newer").hidden = !(registration.waiting && navigator.serviceWorker.controller));
  offer();
  registration.addEventListener("updatefound", () => registration.installing?.addEventListener("statechange", offer));
  at("reload").addEventListener("click", async () => {
    await keepNow().catch(() => {});
    if (!registration.waiting) return location.reload(); // another tab let it take over
    navigator.serviceWorker.addEventListener("controllerchange", () => location.reload(), { once: true });
    registration.waiting.postMessage("take over");
  });
}

async function start() {
  const asked = configure().then((config) => {
    if (config.title) at("wordmark").textContent = config.title;
    at("to-map").hidden = !config.maps;
  });
  await Promise.race([restore(), new Promise((resolve) => setTimeout(resolve, PATIENCE))]);
  const late = Symbol("late"); // on a bad network the page is there first, and what the server offers follows
  if ((await Promise.race([asked, new Promise((resolve) => setTimeout(resolve, PATIENCE, late))])) === late) asked.then(() => session.photos.length || show({ quiet: true }));
  show({ quiet: true });
  if (navigator.onLine && prefs.get().sendWaiting) sendWaiting();
  if (navigator.onLine) renewEngine().catch(() => {}); // the next visit tries again
}

// A piece of an address; one that was cut in the middle of a letter stays what it is.
function decoded(piece) {
  try {
    return decodeURIComponent(piece);
  } catch {
    return piece;
  }
}

// quiet: the reader is not led to the top, such as after a change of the language
function show({ quiet = false } = {}) {
  const [name, ...rest] = location.hash.slice(1).split("/");
  const view = Object.hasOwn(VIEWS, name) ? name : "identify";
  const root = at("view");
  leaving.abort();
  leaving = new AbortController();
  document.querySelector("dialog[open]")?.close(); // the way back leads out of a dialog, too
  root.className = `view-${view}`;
  root.replaceChildren();
  const title = VIEWS[view](root, { rest: rest.map(decoded), signal: leaving.signal, redraw: show });
  document.title = `${title} · ${at("wordmark").textContent}`;
  for (const tab of document.querySelectorAll("[data-tab]")) {
    if (tab.dataset.tab === (TABS[view] ?? view)) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  clearTimeout(resting); // the view before was left before it came to rest
  if (started && !quiet) {
    window.scrollTo(0, history.state?.top ?? 0);
    root.focus({ preventScroll: true });
    announce(title);
  }
  started = true;
  document.documentElement.dataset.view = view;
}
