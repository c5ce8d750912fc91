// A species by its name: a combobox (WAI-ARIA 1.2) over the server's names, scientific and common.
import { element } from "../dom.js";
import { t } from "../i18n.js";
import { findSpecies } from "./api.js";

const REST = 200; // milliseconds without a key before the server is asked
const FEWEST = 2;

let made = 0;

// onPick({taxonID, scientificNameWithoutAuthor, commonNames}) -> {node, input}
export function createFinder({ onPick, signal, words = t("finder.label") }) {
  const id = `finder-${(made += 1)}`;
  const input = element("input");
  Object.assign(input, { type: "search", id, autocomplete: "off", spellcheck: false, placeholder: t("finder.example") });
  for (const [name, value] of Object.entries({ role: "combobox", "aria-expanded": "false", "aria-controls": `${id}-list`, "aria-autocomplete": "list" })) input.setAttribute(name, value);
  const label = element("label", "", words);
  label.htmlFor = id;
  const list = element("ul", "options card");
  list.id = `${id}-list`;
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", words);
  list.hidden = true;
  const told = element("p", "faint small");
  told.setAttribute("role", "status");
  const node = element("div", "finder field", label, input, list, told);
  let found = [];
  let active = -1;
  let timer = 0;
  let asking = new AbortController();

  signal.addEventListener("abort", () => {
    clearTimeout(timer);
    asking.abort();
  });
  input.addEventListener("input", () => {
    clearTimeout(timer);
    asking.abort();
    const typed = input.value.trim();
    if (typed.length < FEWEST) return close(typed ? t("finder.more") : "");
    timer = setTimeout(() => search(typed), REST);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (list.hidden) return;
      event.preventDefault();
      move(event.key === "ArrowDown" ? 1 : -1);
    } else if (event.key === "Enter" && active >= 0) {
      event.preventDefault();
      pick(active);
    } else if (event.key === "Escape" && !list.hidden) {
      event.preventDefault();
      event.stopPropagation(); // the list closes, not the dialog around it
      close();
    }
  });
  input.addEventListener("blur", () => setTimeout(() => close(), 150)); // a press on an option comes first
  return { node, input };

  async function search(typed) {
    asking = new AbortController();
    const mine = asking.signal;
    try {
      const answer = await findSpecies(typed, { signal: mine });
      if (mine.aborted) return;
      found = Array.isArray(answer) ? answer : (answer.species ?? []);
    } catch (error) {
      if (!mine.aborted) close(error.message);
      return;
    }
    active = -1;
    list.replaceChildren(...found.map(option));
    list.hidden = !found.length;
    input.setAttribute("aria-expanded", String(!list.hidden));
    input.removeAttribute("aria-activedescendant");
    told.textContent = found.length ? t("finder.found", { n: found.length }) : t("finder.none", { typed });
  }

  function option(one, i) {
    const item = element("li", "", element("i", "", one.scientificNameWithoutAuthor), element("span", "faint small", one.commonNames?.[0] ?? ""));
    item.id = `${id}-${i}`;
    item.setAttribute("role", "option");
    item.setAttribute("aria-selected", "false");
    item.addEventListener("pointerdown", (event) => event.preventDefault());
    item.addEventListener("click", () => pick(i));
    return item;
  }

  function move(way) {
    active = (active + way + found.length) % found.length;
    for (const [i, item] of [...list.children].entries()) item.setAttribute("aria-selected", String(i === active));
    input.setAttribute("aria-activedescendant", `${id}-${active}`);
    list.children[active].scrollIntoView({ block: "nearest" });
  }

  function pick(i) {
    const one = found[i];
    input.value = one.scientificNameWithoutAuthor;
    close();
    onPick(one);
  }

  function close(words = "") {
    list.hidden = true;
    active = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
    told.textContent = words;
  }
}
