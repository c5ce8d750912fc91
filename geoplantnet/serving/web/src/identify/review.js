// Other people's observations whose name is not settled yet: one at a time, a word each.
import { announce } from "../announce.js";
import { button, element } from "../dom.js";
import { date, number, percent, t } from "../i18n.js";
import { link } from "./answer.js";
import { newKey, reviewQueue, takeVoteBack, vote as cast } from "./api.js";
import { offers } from "./config.js";
import { createFinder } from "./finder.js";
import { loading, notice, scientific } from "./parts.js";
import { prefs } from "./prefs.js";
import { pictureOf } from "./viewer.js";

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
  const tally = element("div", "tally");
  root.append(tally, stage);
  let queue = [];
  let after = null; // where the next page begins
  let voted = 0;
  let last = null; // the last vote: {one, what, told}
  let begun = false; // the reader has acted, and the focus follows
  const done = new Set(); // what was voted on does not come again
  const skipped = new Set(); // nor does this, unless it is asked for
  fetchMore();
  return t("review.title");

  function fetchMore() {
    tally.replaceChildren(); // no vote is taken back while others are on their way
    return loading(stage, {
      signal,
      load: () => reviewQueue({ after, signal }),
      draw: (page) => {
        queue.push(...(page.results ?? []).filter(({ id }) => !done.has(id) && !skipped.has(id)));
        after = page.next ?? null;
        if (queue.length) show();
        else if (after !== null) fetchMore();
        else end();
      },
    });
  }

  function show() {
    draw(queue[0]);
    count();
    if (!begun) return;
    stage.querySelector("h2").focus({ preventScroll: true });
    tally.scrollIntoView();
  }

  function end() {
    const again = button("", t("review.again"), () => {
      skipped.clear();
      fetchMore();
    });
    const all = skipped.size ? notice("mind", t("review.rest", { n: skipped.size }), again) : notice("good", t("review.empty"));
    all.tabIndex = -1;
    stage.append(all);
    if (begun) all.focus();
    count();
  }

  function count() {
    const vote = last;
    const undo = button("small", t("review.undo"), takeBack);
    tally.replaceChildren(...(last ? [element("div", "row", element("p", "small", last.told), undo)] : []), ...(voted ? [element("p", "faint small", t("review.count", { n: voted }))] : []));
    if (last) undo.setAttribute("aria-label", t("review.undo-label", { told: last.told }));

    async function takeBack() {
      undo.disabled = true;
      tally.querySelector(".notice")?.remove();
      try {
        await takeVoteBack(vote.one.id, vote.what, newKey());
      } catch (error) {
        if (signal.aborted) return;
        const complaint = notice("bad", error.message);
        complaint.setAttribute("role", "alert");
        tally.append(complaint);
        undo.disabled = false;
        return;
      }
      if (signal.aborted) return;
      begun = true;
      done.delete(vote.one.id);
      queue.unshift(vote.one);
      voted -= 1;
      if (last === vote) last = null;
      announce(t("review.undone"));
      show();
    }
  }

  function next(one, words) {
    begun = true;
    queue = queue.filter((other) => other !== one);
    announce(`${words} ${t("review.next")}`);
    if (queue.length) show();
    else fetchMore();
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
    const row = element("div", "row wrap", species && act(t("review.agree"), { species: species.id }, t("review.said", { name: species.scientificNameWithoutAuthor }), "strong"), other, act(t("review.not-plant"), { kind: "not_a_plant" }, t("review.said-not-plant")), act(t("review.cultivated"), { kind: "cultivated" }, t("review.said-cultivated")));
    const skip = button("plain", t("review.skip"), () => {
      skipped.add(one.id);
      next(one, t("review.said-skip"));
    });
    buttons.push(skip);
    stage.replaceChildren(
      element(
        "article",
        "card review",
        images(one, species?.scientificNameWithoutAuthor ?? t("review.no-name")),
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
      const finder = createFinder({ signal, words: t("review.which"), onPick: (picked) => vote({ species: picked.id }, t("review.said", { name: picked.scientificNameWithoutAuthor })) });
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
        done.add(one.id);
        last = { one, what, told: said };
        voted += 1;
        next(one, said);
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

function images(one, title) {
  const about = one.date ?? "";
  const list = element("ul", "pictures large", ...one.images.map((_, i) => pictureOf(one.images, i, { title, about, eager: true })));
  list.setAttribute("aria-label", t("review.images"));
  return list;
}

// What others proposed, with the weight each has.
function proposals(one) {
  return element("ul", "proposals small", ...one.answers.map((answer) => element("li", "", scientific(answer.species), " ", element("span", "faint", percent(answer.share)))));
}
