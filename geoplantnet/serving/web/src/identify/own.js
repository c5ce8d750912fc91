// What the reader gave: how settled its name is, and the way to take it back.
import { announce } from "../announce.js";
import { button, element } from "../dom.js";
import { openDialog } from "../dialog.js";
import { date, number, percent, t } from "../i18n.js";
import { link } from "./answer.js";
import { ownObservations, withdraw } from "./api.js";
import { offers } from "./config.js";
import { addressOf, loading, notice, scientific } from "./parts.js";
import { prefs } from "./prefs.js";

export function showOwn(root, { signal }) {
  const title = t("own.title");
  root.append(element("h1", "", title));
  if (!offers().store || !prefs.get().key) {
    root.append(notice("mind", t(offers().store ? "own.needs-key" : "confirm.no-store"), offers().store ? link("#settings", t("error.to-settings"), "") : ""));
    return title;
  }
  const list = element("ul", "given");
  const more = element("div", "stack");
  root.append(element("p", "lede", t("own.lede")), list, more);
  fetchMore(null);
  return title;

  function fetchMore(after) {
    return loading(more, {
      signal,
      load: () => ownObservations({ after, signal }),
      draw: ({ results, next }) => {
        list.append(...results.map(item));
        if (next) more.append(button("", t("own.more"), () => fetchMore(next)));
        else if (!list.children.length) more.append(element("p", "faint", t("own.empty")));
      },
    });
  }

  function item(one) {
    const image = element("img");
    const [first] = one.images;
    if (first) Object.assign(image, { src: addressOf(first.url.s), alt: "", loading: "lazy", decoding: "async" });
    const name = one.species ? scientific(one.species) : element("span", "", t("review.no-name"));
    const told = [one.date && date(one.date, "medium"), one.place && `${number(one.place.latitude, 4)}, ${number(one.place.longitude, 4)}`].filter(Boolean).join(" · ");
    const state = one.valid ? t("own.valid", { n: one.votes }) : one.species ? t("review.state", { share: percent(one.confidence), n: one.votes }) : t("review.votes", { n: one.votes });
    const back = button("small", t("own.withdraw"), () => ask(one, node, back));
    back.setAttribute("aria-label", t("own.withdraw-of", { name: one.species?.scientificNameWithoutAuthor ?? t("review.no-name"), day: told }));
    const node = element("li", "card", first ? image : null, element("div", "", element("p", "", element("strong", "", name)), element("p", "faint small", told), element("p", "small", state)), back);
    return node;
  }

  // For good, so it is asked once more.
  function ask(one, node, opener) {
    const { body, signal: open } = openDialog({ id: "withdraw", title: t("own.sure"), about: one.species?.scientificNameWithoutAuthor ?? "", opener });
    const dialog = body.closest("dialog");
    const yes = button("strong", t("own.withdraw"), async () => {
      body.querySelector('[role="alert"]')?.remove();
      yes.disabled = true;
      try {
        await withdraw(one.id);
      } catch (error) {
        if (open.aborted) return;
        const box = notice("bad", error.message);
        box.setAttribute("role", "alert");
        body.append(box);
        yes.disabled = false;
        return;
      }
      dialog.close();
      const near = node.nextElementSibling ?? node.previousElementSibling;
      node.remove();
      (near?.querySelector("button") ?? root).focus();
      announce(t("own.gone"));
      if (!list.children.length) more.replaceChildren(element("p", "faint", t("own.empty")));
    });
    body.append(element("p", "", t("own.sure-why")), element("div", "row", yes, button("", t("cancel"), () => dialog.close())));
  }
}
