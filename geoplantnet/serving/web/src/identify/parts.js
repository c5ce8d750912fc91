// Small parts that several views are made of.
import { button, element } from "../dom.js";
import { percent, t } from "../i18n.js";
import { SITE } from "./api.js";

// kind: "good", "mind" or "bad"
export function notice(kind, ...content) {
  return element("div", `notice ${kind}`, ...content.map((part) => (typeof part === "string" ? element("p", "", part) : part)));
}

// One of a group of choices; pick(value)
export function radio(name, value, words, now, pick) {
  const input = element("input");
  Object.assign(input, { type: "radio", name, value, checked: value === now });
  input.addEventListener("change", () => input.checked && pick(value));
  return element("label", "choice", input, element("span", "", words));
}

export function checkbox(words, on, pick) {
  const input = element("input");
  Object.assign(input, { type: "checkbox", checked: on });
  input.addEventListener("change", () => pick(input.checked));
  return element("label", "choice", input, element("span", "", words));
}

// A labelled field: input, select ...
export function field(words, control, help = "") {
  control.id ||= `field-${Math.random().toString(36).slice(2, 9)}`;
  const label = element("label", "", words);
  label.htmlFor = control.id;
  const hint = help ? element("p", "faint small", help) : null;
  if (hint) {
    hint.id = `${control.id}-help`;
    control.setAttribute("aria-describedby", hint.id);
  }
  return element("div", "field", label, control, hint);
}

export function choices(options, now, pick) {
  const select = element("select");
  for (const [value, words] of options) {
    const option = element("option", "", words);
    option.value = value;
    option.selected = value === now;
    select.append(option);
  }
  select.addEventListener("change", () => pick?.(select.value));
  return select;
}

// A share as a bar, a figure and a word.
export function scored(score) {
  const bar = element("span", "score-bar", element("span", "fill"));
  bar.setAttribute("aria-hidden", "true");
  bar.firstChild.style.width = `${Math.max(1, 100 * score)}%`;
  return element("p", "score", bar, element("strong", "", percent(score)), ` ${t(`sure.${wordOf(score)}`)}`);
}

export const wordOf = (score) => (score >= 0.8 ? "very" : score >= 0.5 ? "likely" : score >= 0.2 ? "possible" : score >= 0.05 ? "less" : "hardly");

// "Gentiana acaulis L.", the name in italics.
export function scientific(species) {
  const name = species.scientificNameWithoutAuthor ?? species.scientificName ?? "";
  return element("span", "taxon-line", element("i", "taxon", name), species.scientificNameAuthorship ? element("span", "author", ` ${species.scientificNameAuthorship}`) : null);
}

// An address the server tells, against where the API lies.
export const addressOf = (url) => new URL(url, SITE).href;

// "Anna, CC BY-SA" below a picture
export function creditOf(image) {
  const told = image.citation || [image.author, image.license].filter(Boolean).join(", ");
  return image.author === "unknown" ? told.replace(/^unknown/, t("credit.unknown")) : told;
}

// Something that is on its way, and what became of it. load(signal) -> draw(found); a failure can be tried again.
export function loading(root, { load, draw, signal, words = t("loading") }) {
  const start = async () => {
    const busy = element("p", "faint busy", words);
    busy.setAttribute("role", "status");
    root.replaceChildren(busy);
    try {
      const found = await load(signal);
      if (signal.aborted) return;
      root.replaceChildren();
      draw(found);
    } catch (error) {
      if (signal.aborted) return;
      const box = notice("bad", error.message, button("", t("retry"), start));
      if (error.kind === "key") box.append(Object.assign(element("a", "", t("error.to-settings")), { href: "#settings" }));
      box.setAttribute("role", "alert");
      root.replaceChildren(box);
    }
  };
  return start();
}
