// Other people's observations whose name is not settled yet: one at a time, a word each.
import { announce } from "../announce.js";
import { button, element } from "../dom.js";
import { date, number, percent, t } from "../i18n.js";
import { link } from "./answer.js";
import { newKey, reviewQueue, vote as cast } from "./api.js";
import { offers } from "./config.js";
import { createFinder } from "./finder.js";
import { addressOf, creditOf, loading, notice, scientific } from "./parts.js";
import { prefs } from "./prefs.js";

export function showReview(root, { signal }) {
  root.append(element("h1", "", t("review.title")), element("p", "lede", t("review.lede")));
  if (!offers().store) {
    root.append(notice("mind", t("review.no-store")));
    return t("review.title");
  }
  if (!prefs.get().key) {
    root.append(notice("mind", t("review.needs-key"), link("#settings", t("error.to-settings"), "")));
    return t("review.title");
  }
  const stage = element("div", "stage");
  const count = element("p", "faint small");
  root.append(stage, count);
  let queue = [];
  let after = null; // where the next page begins
  let voted = 0;
  const seen = new Set(); // what was skipped or voted on does not come again
  fetchMore();
  return t("review.title");

  function fetchMore() {
    return loading(stage, {
      signal,
      load: () => reviewQueue({ after, signal }),
      draw: (page) => {
        const found = (page.results ?? []).filter(({ id }) => !seen.has(id));
        queue = found;
        after = page.next ?? null;
        if (queue.length) draw(queue[0]);
        else if (after !== null) fetchMore();
        else stage.append(notice("good", t("review.empty")));
      },
    });
  }

  function next(words) {
    seen.add(queue.shift().id);
    announce(words);
    count.textContent = voted ? t("review.count", { n: voted }) : "";
    if (!queue.length) return fetchMore();
    draw(queue[0]);
    stage.querySelector("h2")?.focus();
  }

  function draw(one) {
    const complaint = element("div");
    complaint.setAttribute("role", "alert");
    const keys = new Map(); // of each thing that may be said: sent again after a lost answer it counts once, and another thing is another vote
    const guess = one.prediction?.species ? one.prediction : null;
    const species = one.species ?? guess?.species ?? null; // what nobody named yet has the model's guess, told as such
    const title = element("h2", "", species ? scientific(species) : t("review.no-name"));
    title.tabIndex = -1;
    const told = [one.date && (one.date.length < 10 ? one.date : date(one.date, "medium")), one.place && t("review.place", { at: `${number(one.place.latitude, 2)}, ${number(one.place.longitude, 2)}` }), one.author].filter(Boolean).join(" · ");
    const other = element("div", "other", button("", t("review.other"), open));
    const buttons = [];
    const act = (words, what, said, className = "") => {
      const node = button(className, words, () => vote(what, said));
      buttons.push(node);
      return node;
    };
    const row = element("div", "row wrap", species && act(t("review.agree"), { species: species.id }, t("review.said-agree"), "strong"), other, act(t("review.not-plant"), { kind: "not_a_plant" }, t("review.said")), act(t("review.cultivated"), { kind: "cultivated" }, t("review.said")));
    const skip = button("plain", t("review.skip"), () => next(t("review.said-skip")));
    buttons.push(skip);
    stage.replaceChildren(
      element(
        "article",
        "card review",
        images(one),
        title,
        species?.commonNames?.length ? element("p", "", species.commonNames[0]) : null,
        element("p", "faint small", told),
        element("p", "small", standing(one, guess)),
        one.answers.length > 1 ? proposals(one) : null,
        one.dataGeneralizations ? element("p", "faint small", t("review.coarse")) : null,
        complaint,
        row,
        element("div", "row", skip),
      ),
    );

    function open() {
      const finder = createFinder({ signal, words: t("review.which"), onPick: (picked) => vote({ species: picked.id }, t("review.said-other", { name: picked.scientificNameWithoutAuthor })) });
      other.replaceChildren(finder.node);
      finder.input.focus();
    }

    async function vote(what, said) {
      complaint.replaceChildren();
      for (const node of buttons) node.disabled = true;
      try {
        const act = JSON.stringify(what);
        if (!keys.has(act)) keys.set(act, newKey());
        await cast(one.id, what, keys.get(act));
        if (signal.aborted) return;
        voted += 1;
        next(said);
      } catch (error) {
        if (signal.aborted) return;
        complaint.append(notice("bad", error.message, ...(error.detail && error.kind === "refused" ? [element("p", "small", error.detail)] : [])));
        for (const node of buttons) node.disabled = false;
      }
    }
  }
}

// How settled its name is.
function standing(one, guess) {
  if (!one.species && guess) return t("review.guess", { share: percent(guess.score) });
  return one.species ? t("review.state", { share: percent(one.confidence), n: one.votes }) : t("review.votes", { n: one.votes });
}

function images(one) {
  const list = element("ul", "pictures large");
  for (const [i, image] of one.images.entries()) {
    const picture = element("img");
    Object.assign(picture, { src: addressOf(image.url.m ?? image.url.o), alt: t("review.image", { number: i + 1, organ: t(`organ.${image.organ || "other"}`) }), decoding: "async" });
    list.append(element("li", "", picture, element("span", "credit", creditOf(image))));
  }
  if (list.children.length > 1) {
    list.tabIndex = 0; // it scrolls, so the keyboard must reach it
    list.setAttribute("aria-label", t("review.images"));
  }
  return list;
}

// What others proposed, with the weight each has.
function proposals(one) {
  return element("ul", "proposals small", ...one.answers.map((answer) => element("li", "", scientific(answer.species), " ", element("span", "faint", percent(answer.share)))));
}
