// Search as you type (ARIA APG, combobox with a listbox): layers by name, species by the server.
import { announce } from "./announce.js";
import { at, element } from "./dom.js";
import { speciesLayer } from "./catalog.js";
import { fold, told } from "./format.js";
import { t } from "./i18n.js";
import { recents, remember } from "./recents.js";
import { ServerError, getJson } from "./server.js";
import { iucnBadge, taxonName } from "./taxon.js";

const DEBOUNCE = 180; // milliseconds after the last key
const LIMIT = 30;

// choose(layerId, taxon | null) is called with what was picked.
export function createSearch(catalog, choose) {
  const input = at("search");
  const list = at("search-list");
  const status = at("search-status");
  let options = []; // [{node, pick}]
  let active = -1;
  let waiting = 0;
  let asking = new AbortController();

  function close() {
    clearTimeout(waiting);
    asking.abort();
    options = [];
    list.hidden = true;
    list.replaceChildren();
    input.setAttribute("aria-expanded", "false");
    activate(-1);
    status.replaceChildren();
  }

  function activate(index) {
    active = index;
    for (const [i, { node }] of options.entries()) node.setAttribute("aria-selected", String(i === index));
    if (index < 0) input.removeAttribute("aria-activedescendant");
    else {
      input.setAttribute("aria-activedescendant", options[index].node.id);
      options[index].node.scrollIntoView({ block: "nearest" });
    }
  }

  // groups: [{title, rows: [{content: [node], pick}]}]
  function show(groups) {
    options = [];
    const nodes = groups
      .filter(({ rows }) => rows.length)
      .map(({ title, rows }, g) => {
        const head = element("div", "group-title", title);
        head.id = `search-group-${g}`;
        const group = element("div", "group", head);
        group.setAttribute("role", "group");
        group.setAttribute("aria-labelledby", head.id);
        for (const { content, pick } of rows) {
          const node = element("div", "option", ...content);
          node.id = `search-option-${options.length}`;
          node.setAttribute("role", "option");
          node.setAttribute("aria-selected", "false");
          node.addEventListener("pointerdown", (event) => event.preventDefault()); // the field keeps the focus
          node.addEventListener("click", () => take(pick));
          options.push({ node, pick });
          group.append(node);
        }
        return group;
      });
    list.replaceChildren(...nodes);
    list.hidden = options.length === 0;
    input.setAttribute("aria-expanded", String(options.length > 0));
    activate(-1);
  }

  function take(pick) {
    input.value = "";
    close();
    pick();
  }

  const ofTaxon = (record) => ({
    content: [taxonName(record), iucnBadge(record.iucn), record.family ? element("span", "aside", record.family) : null],
    pick: () => {
      remember(record);
      choose(speciesLayer(record.taxonID), record);
    },
  });

  const ofLayer = (layer) => ({
    content: [element("span", "", told(layer).title), element("span", "aside", t(`family.${layer.family}`))],
    pick: () => choose(layer.id, null),
  });

  function layersCalled(query) {
    const tokens = fold(query).split(/\s+/).filter(Boolean);
    return [...catalog.listed.values()].filter((layer) => {
      const words = fold(`${told(layer).title} ${layer.title} ${layer.id}`).split(/[^\p{L}\p{N}]+/u);
      return tokens.every((token) => words.some((word) => word.startsWith(token) || (token.length > 2 && word.includes(token))));
    });
  }

  async function search() {
    const query = input.value.trim();
    asking.abort();
    if (!query) return lately();
    asking = new AbortController();
    const { signal } = asking;
    const layers = { title: t("search.layers"), rows: layersCalled(query).slice(0, 8).map(ofLayer) };
    status.textContent = t("loading");
    try {
      const { species, count } = await getJson(`./api/species?${new URLSearchParams({ q: query, limit: LIMIT })}`, { signal });
      show([layers, { title: t("search.species"), rows: species.map(ofTaxon) }]);
      const n = layers.rows.length + count;
      const words = n === 0 ? t("search.none", { query }) : count > species.length ? t("search.first", { n, shown: options.length }) : t("search.count", { n });
      status.textContent = words;
      announce(words);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ServerError)) throw error;
      show([layers]);
      const n = layers.rows.length;
      // a store without species answers 404: its layers are all there is
      if (error.status === 404) status.textContent = n ? t("search.count", { n }) : t("search.none", { query });
      else {
        const again = element("button", "button small", t("retry"));
        again.type = "button";
        again.addEventListener("click", () => input.focus()); // which searches anew
        status.replaceChildren(error.message, " ", again);
      }
    }
  }

  function lately() {
    close();
    const kept = recents();
    if (document.activeElement === input && kept.length) show([{ title: t("search.recent"), rows: kept.map(ofTaxon) }]);
  }

  input.addEventListener("input", () => {
    clearTimeout(waiting);
    if (input.value.trim()) waiting = setTimeout(search, DEBOUNCE);
    else lately();
  });
  input.addEventListener("focus", () => (input.value.trim() ? search() : lately()));
  input.parentElement.addEventListener("focusout", ({ relatedTarget }) => !input.parentElement.contains(relatedTarget) && close());
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && options.length) {
      event.preventDefault();
      activate(active < 0 ? (step > 0 ? 0 : options.length - 1) : (active + step + options.length) % options.length);
    } else if (event.key === "Enter" && options.length && input.value.trim() + active !== "-1") {
      event.preventDefault();
      take(options[Math.max(active, 0)].pick);
    } else if (event.key === "Escape" && (input.value || options.length)) {
      event.preventDefault();
      event.stopPropagation();
      input.value = "";
      close();
    }
  });
}
