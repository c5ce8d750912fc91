// What the plant may be: candidates beside the reader's own photo, why, and what the reader does with it.
import { announce } from "../announce.js";
import { button, element } from "../dom.js";
import { number, percent, t } from "../i18n.js";
import { leftToday } from "./api.js";
import { compare } from "./compare.js";
import { confirmSpecies, nameSpecies } from "./confirm.js";
import { offers } from "./config.js";
import { addressOf, creditOf, notice, scientific, scored } from "./parts.js";
import { prefs } from "./prefs.js";
import { identify, session, startAnew } from "./session.js";

const FIRST = [0, 1, 2]; // candidates that show their photos; the others do on demand
const SURE = 0.5; // below, the best is called one among several
const GENUS_SURE = 0.8;

export function showAnswer(root, { signal, redraw }) {
  const { answer } = session;
  if (!answer) {
    root.append(element("h1", "", t("answer.title")), notice("mind", t("answer.none")), link("#identify", t("answer.to-photos")));
    return t("answer.title");
  }
  const title = element("h1", "", t(answer.rejected ? "answer.rejected-title" : "answer.title"));
  root.append(title);
  if (answer.rejected) {
    root.append(...asking(), rejected(root, redraw));
    return title.textContent;
  }
  const results = answer.results ?? [];
  let { shown } = looks(answer);
  const cards = element("ol", "candidates");
  const draw = () => cards.replaceChildren(...results.map((result, i) => candidate(result, i, shown)));
  root.append(
    ...asking(),
    ...[named(results), summary(answer, results), answer.offline ? notice("mind", t("answer.offline")) : null, answer.reject === false ? notice("mind", t("answer.unrejected")) : null].filter(Boolean),
    ...evidence(answer),
    results.length && session.photos.length > 1 ? yours() : "",
    cards,
    ...none(answer),
    ...further(answer, root, redraw),
    element("div", "go", startButton(), link("#identify", t("answer.change"))),
    session.given ? element("p", "small kept", t("answer.given"), " ", link("#own", t("own.title"), "")) : element("p", "faint small kept", t("answer.private")),
    element("p", "faint small", [leftToday(answer), answer.version ? t("answer.version", { version: answer.version }) : ""].filter(Boolean).join(" ")),
  );
  draw();
  return title.textContent;

  // Which of the own photos is compared with.
  function yours() {
    const row = element("div", "yours");
    row.setAttribute("role", "group");
    row.setAttribute("aria-label", t("answer.yours-label"));
    for (const [i, photo] of session.photos.entries()) {
      const image = element("img");
      image.src = photo.url;
      image.alt = "";
      const one = element("button", "", image, element("span", "", t(`organ.${organOf(i)}`)));
      one.type = "button";
      one.setAttribute("aria-pressed", String(i === shown));
      one.addEventListener("click", () => {
        shown = looks(answer).shown = i;
        for (const [j, other] of [...row.children].entries()) other.setAttribute("aria-pressed", String(j === i));
        draw();
        announce(t("answer.compared-with", { number: i + 1, organ: t(`organ.${organOf(i)}`) }));
      });
      row.append(one);
    }
    return row;
  }
}

// How an answer is looked at, kept while it lasts: which of the reader's photos stands beside the candidates, which of them show theirs.
const looked = new WeakMap();
function looks(answer) {
  if (!looked.has(answer)) looked.set(answer, { shown: 0, open: new Set(FIRST) });
  return looked.get(answer);
}

// What the reader said a photo shows, or what the net saw in it.
export function organOf(i) {
  const { organ } = session.photos[i];
  if (organ !== "auto") return organ;
  return session.answer?.predictedOrgans?.[i]?.organ ?? "auto";
}

function summary(answer, results) {
  if (!results.length) return notice("mind", t("answer.nothing"));
  const [best] = results;
  if (best.score >= SURE) return null;
  const genera = new Map();
  for (const { score, species } of results) {
    const name = species.genus?.scientificNameWithoutAuthor ?? species.genus?.scientificName;
    if (name) genera.set(name, (genera.get(name) ?? 0) + score);
  }
  const [genus, share] = [...genera].sort((a, b) => b[1] - a[1])[0] ?? ["", 0];
  return share >= GENUS_SURE
    ? notice("mind", t("answer.genus", { genus, share: percent(share) }))
    : notice("mind", t("answer.unsure"), ...among(answer, results));
}

// The set of species that the answer may be, where it is small enough to look through.
function among(answer, results) {
  const n = answer.answerSet?.length ?? 0;
  return n > 1 && n < results.length ? [t("answer.set", { n })] : [];
}

// What the answer rests on, and what each photo was seen as.
function evidence(answer) {
  const kind = answer.offline ? "device" : (answer.evidence ?? "none");
  const words = kind === "sdm" ? t("why.sdm") : kind === "flora" ? t("why.flora", { flora: answer.preferedReferential ?? "" }) : t(session.place && kind !== "device" ? "why.no-cover" : "why.photos");
  const parts = [element("p", "why", element("strong", "", t("why.title")), " ", words)];
  const seen = (answer.predictedOrgans ?? []).filter((one) => one?.organ);
  if (seen.length) {
    parts.push(element("p", "faint small", t("why.organs", { organs: seen.map((one) => `${t(`organ.${one.organ}`).toLowerCase()} (${percent(one.score)})`).join(", ") })));
  }
  return parts;
}

function candidate(result, i, shown) {
  const { species } = result;
  const common = species.commonNames?.[0] ?? "";
  const head = element("h2", "", common || scientific(species));
  const names = element("p", "names", common ? scientific(species) : null, element("span", "faint small", [species.family?.scientificNameWithoutAuthor, species.commonNames?.slice(1, 3).join(", ")].filter(Boolean).join(" · ")));
  const card = element("li", "card candidate", element("div", "candidate-head", element("span", "rank", number(i + 1)), element("div", "", head, names)), scored(result.score), result.iucn?.category && threatened(result.iucn.category) ? element("p", "chip", t(`iucn.${result.iucn.category}`)) : null);
  const { open } = looks(session.answer);
  if (open.has(i)) card.append(gallery(result, shown));
  else {
    const more = button("small", t("answer.show"), () => {
      open.add(i);
      const photos = gallery(result, shown);
      more.replaceWith(photos);
      photos.querySelector("button").focus();
    });
    more.setAttribute("aria-label", t("answer.show-of", { name: nameOf(result) }));
    card.append(more);
  }
  card.append(actions(result));
  return card;
}

const threatened = (category) => ["VU", "EN", "CR", "EW", "EX"].includes(category);
export const nameOf = ({ species }) => species.commonNames?.[0] ?? species.scientificNameWithoutAuthor;
// What stands below such a name: the scientific one, or where that stands already the family.
export const belowName = ({ species }) => (species.commonNames?.[0] ? species.scientificNameWithoutAuthor : (species.family?.scientificNameWithoutAuthor ?? ""));
export const idOf = (result) => result.taxonID ?? null; // another server of this API may not tell it

// The own photo, then the most similar ones of this species: those of the same organ first.
export function imagesOf(result, shown) {
  const organ = organOf(shown);
  const all = result.images ?? [];
  return [...all.filter((one) => one.organ === organ), ...all.filter((one) => one.organ !== organ)];
}

function gallery(result, shown) {
  const row = element("ul", "gallery");
  const own = session.photos[shown];
  row.append(tile(own.url, t("answer.yours"), "", t("compare.open-own", { name: nameOf(result) }), (opener) => compare(result, shown, 0, opener), "own"));
  const found = imagesOf(result, shown);
  for (const [j, image] of found.slice(0, 6).entries()) {
    const organ = t(`organ.${image.organ ?? "other"}`);
    row.append(tile(addressOf(image.url.s ?? image.url.m), organ, creditOf(image), t("compare.open", { name: nameOf(result), number: j + 1, organ }), (opener) => compare(result, shown, j, opener)));
  }
  if (found.length) return row;
  const none = element("li", "none faint small", t(session.answer.offline ? "answer.no-images-offline" : "answer.no-images"));
  row.append(none);
  return row;
}

function tile(url, caption, credit, label, open, className = "") {
  const image = element("img");
  Object.assign(image, { src: url, alt: "", loading: "lazy", decoding: "async" });
  const press = element("button", "", image, element("span", "caption", caption));
  press.type = "button";
  press.setAttribute("aria-label", label);
  press.addEventListener("click", () => open(press));
  // a browser leaves what is half in sight where it is, and the own photo would cover the rest
  press.addEventListener("focus", () => press.scrollIntoView({ inline: "nearest", block: "nearest" }));
  const item = element("li", className, press);
  if (credit) item.append(element("span", "credit", credit));
  return item;
}

function actions(result) {
  const id = idOf(result);
  const yes = button("strong", t("answer.this"), () => confirmSpecies(result, yes));
  yes.setAttribute("aria-label", t("answer.this-label", { name: nameOf(result) }));
  const about = id === null || session.answer.offline ? null : link(`#species/${encodeURIComponent(id)}`, t("answer.about"));
  about?.setAttribute("aria-label", t("answer.about-label", { name: nameOf(result) }));
  return element("div", "row", yes, about);
}

// Another flora that fits better, and what the flora cut.
function further(answer, root, redraw) {
  const parts = [];
  if (answer.switchToProject) {
    const other = button("", t("answer.switch"), async () => {
      prefs.set({ project: answer.switchToProject });
      await again(root, redraw, {});
    });
    parts.push(notice("mind", t("answer.better-flora", { project: answer.switchToProject }), other));
  }
  const others = answer.otherResults?.species ?? [];
  if (others.length) {
    const items = others.map((one) => element("li", "", scientific(one.species), " ", element("span", "faint", percent(one.score))));
    parts.push(element("details", "card others", element("summary", "", t("answer.others", { n: others.length })), element("p", "small", t("answer.others-why")), element("ul", "", ...items)));
  }
  return parts;
}

function rejected(root, redraw) {
  const anyway = button("", t("answer.anyway"), () => again(root, redraw, { reject: false }));
  return element(
    "div",
    "stack",
    element("div", "yours plain", ...session.photos.map((photo, i) => {
      const image = element("img");
      image.src = photo.url;
      image.alt = t("photo.alt", { number: i + 1, name: photo.name });
      return image;
    })),
    notice("mind", t("answer.rejected")),
    element("ul", "hints", ...["near", "sharp", "one"].map((hint) => element("li", "", t(`hint.${hint}`)))),
    element("div", "go", link("#identify", t("answer.to-photos"), "button strong"), anyway, startButton()),
  );
}

// Ask once more, otherwise; whichever view is shown then is drawn anew.
async function again(root, redraw, otherwise) {
  const asked = identify(otherwise);
  root.prepend(...asking());
  await asked;
  if (document.documentElement.dataset.view !== "answer") return;
  const { refusal } = session;
  redraw();
  if (refusal) document.querySelector("h1").after(notice("bad", refusal.message));
}

// That the photos are being looked at once more.
function asking() {
  if (!session.asking) return [];
  const busy = notice("mind", t("capture.going"));
  busy.setAttribute("role", "status");
  return [busy];
}

// What the reader named it while there was no network.
function named(results) {
  const { said } = session;
  if (!said || !mayContribute()) return null;
  const result = results.find((one) => idOf(one) === said.id) ?? { taxonID: said.id, species: { scientificNameWithoutAuthor: said.name } };
  const give = button("strong", t("answer.give"), () => confirmSpecies(result, give));
  return notice("good", t("answer.said", { name: said.name }), give);
}

// The model does not have the last word: another name can be given, too.
function none(answer) {
  if (!mayContribute() || answer.reject === false) return [];
  const open = button("plain", t("answer.none-of-these"), () => nameSpecies(open));
  return [element("div", "row none-of-these", open)];
}

function startButton() {
  return button("", t("answer.next"), async () => {
    await startAnew();
    location.hash = "#identify";
  });
}

export function link(href, words, className = "button") {
  const node = element("a", className, words);
  node.href = href;
  return node;
}

export const mayContribute = () => offers().store && !session.answer?.offline;
