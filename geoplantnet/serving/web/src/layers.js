// The Layers tab: search, species by family and genus, the other layers by family.
import { announce } from "./announce.js";
import { at, button, element } from "./dom.js";
import { SPECIES, isSpecies, speciesLayer, taxonOf } from "./catalog.js";
import { sentence, told } from "./format.js";
import { has, number, onLanguage, t, translate } from "./i18n.js";
import { gradient } from "./legend.js";
import { recents, remember } from "./recents.js";
import { createSearch } from "./search.js";
import { ServerError, getJson } from "./server.js";
import { state } from "./state.js";
import { iucnBadge, taxonName } from "./taxon.js";

const PAGE = 50; // species of a genus asked for at once

export const familyTitle = (name) => (has(`family.${name}`) ? t(`family.${name}`) : name);

// choose(layerId)
export function createLayers(catalog, choose) {
  const panel = at("layers-panel");
  const field = element("div", "search");
  field.innerHTML = `
    <label for="search" class="unseen" data-t="search.label"></label>
    <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><circle cx="7" cy="7" r="4.5"/><path d="M10.5 10.5L14 14"/></svg>
    <input id="search" type="search" data-t-placeholder="search.placeholder" autocomplete="off" spellcheck="false" role="combobox"
           aria-autocomplete="list" aria-expanded="false" aria-controls="search-list" aria-describedby="search-status">
    <div class="search-drop">
      <div id="search-list" role="listbox" data-t-label="search.label" hidden></div>
      <p id="search-status" class="status"></p>
    </div>`;
  const message = element("p", "message");
  message.id = "layers-message";
  message.hidden = true;
  const tree = element("form", "tree");
  tree.id = "tree";
  tree.addEventListener("submit", (event) => event.preventDefault());
  tree.addEventListener("change", ({ target }) => {
    if (target.record) remember(target.record);
    choose(target.value);
  });
  panel.replaceChildren(field, message, tree);
  translate(panel);
  createSearch(catalog, (id, taxon) => {
    choose(id);
    announce(taxon ? taxon.scientificName : told(catalog.known(id)).title);
  });

  let chosen = null; // the layer marked last
  const opened = new Set(["Species", "Habitat", "Conservation", "Ecosystem", "Threat"]);
  function draw() {
    const focused = document.activeElement?.closest?.("#tree input")?.value;
    tree.replaceChildren(...groups());
    select(state.get().layer);
    if (focused) tree.querySelector(`input[value="${CSS.escape(focused)}"]`)?.focus();
  }

  function groups() {
    const species = catalog.species?.count ? [speciesGroup()] : [];
    const listed = catalog.families
      .map((family) => (catalog.species?.count ? { ...family, layers: family.layers.filter((layer) => !isSpecies(layer)) } : family))
      .filter(({ layers }) => layers.length);
    return [...species, ...listed.map(({ name, layers }) => group(name, layers.length, layers.map(layerRow)))];
  }

  function group(name, count, content) {
    const node = element("details", "family");
    const summary = element("summary", "", element("h3", "", familyTitle(name)), element("span", "count", number(count)));
    node.append(summary, element("div", "list", ...content));
    node.dataset.family = name;
    node.open = opened.has(name);
    node.addEventListener("toggle", () => (node.open ? opened.add(name) : opened.delete(name)));
    return node;
  }

  function speciesGroup() {
    const { count, withheld } = catalog.species;
    const mine = element("div", "recents");
    mine.id = "species-recent";
    const families = element("details", "browse");
    families.append(element("summary", "", t("browse.title")), element("div", "families"));
    families.addEventListener("toggle", () => families.open && fill(families.lastChild), { once: true });
    return group(SPECIES, count, [mine, families, withheld ? element("p", "faint small", t("browse.withheld", { n: withheld })) : null].filter(Boolean));
  }

  // Families, genera and species arrive when they are opened.
  async function fill(into) {
    into.replaceChildren(skeleton());
    try {
      const { families } = await getJson("./api/families");
      into.replaceChildren(
        ...families.map((family) =>
          branch(family.name ?? "?", family.count, "family-of", () => family.genera.map((genus) => genusBranch(family.name, genus))),
        ),
      );
    } catch (error) {
      fail(into, error, () => fill(into));
    }
  }

  function genusBranch(family, genus) {
    const node = branch(genus.name ?? "?", genus.count, "genus-of", (list) => {
      more(list, { family, genus: genus.name }, 0);
      return [];
    });
    node.firstChild.firstChild.classList.add("taxon");
    return node;
  }

  function branch(title, count, className, make) {
    const node = element("details", className);
    const list = element("div", "list");
    node.append(element("summary", "", element("span", "", title), element("span", "count", number(count))), list);
    node.addEventListener("toggle", () => node.open && list.append(...make(list)), { once: true });
    return node;
  }

  async function more(list, of, offset) {
    const waiting = skeleton();
    list.append(waiting);
    const query = new URLSearchParams({ ...Object.fromEntries(Object.entries(of).filter(([, value]) => value)), limit: PAGE, offset });
    try {
      const { count, species } = await getJson(`./api/species?${query}`);
      waiting.remove();
      list.append(...species.map(taxonRow));
      select(state.get().layer);
      const rest = count - offset - species.length;
      if (rest > 0 && species.length) {
        const next = button("small", t("browse.more", { n: Math.min(rest, PAGE) }), () => {
          next.remove();
          more(list, of, offset + species.length);
        });
        list.append(next);
      }
    } catch (error) {
      waiting.remove();
      const place = element("div");
      list.append(place);
      fail(place, error, () => {
        place.remove();
        more(list, of, offset);
      });
    }
  }

  function fail(into, error, again) {
    if (!(error instanceof ServerError)) throw error;
    into.replaceChildren(element("p", "small", error.message), button("small", t("retry"), again));
  }

  function layerRow(layer) {
    const swatch = element("span", "chip");
    swatch.style.background = gradient(layer);
    const title = element("span", isSpecies(layer) ? "taxon" : "", told(layer).title);
    return row(layer.id, title, isSpecies(layer) ? null : swatch);
  }

  function taxonRow(record) {
    const node = row(speciesLayer(record.taxonID), taxonName(record), iucnBadge(record.iucn));
    node.firstChild.record = record;
    return node;
  }

  function row(id, ...content) {
    const input = element("input");
    Object.assign(input, { type: "radio", name: "layer", value: id });
    return element("label", "row", input, ...content);
  }

  // The species shown, and those looked at lately, under the family's head.
  function drawRecents(id) {
    const place = at("species-recent");
    if (!place) return;
    const records = recents();
    const taxon = taxonOf(id);
    const active = taxon && !records.some((one) => one.taxonID === taxon) ? catalog.known(id) : null;
    const first = active ? [{ taxonID: taxon, scientificName: active.title }] : [];
    const rows = [...first, ...records].slice(0, 5).map(taxonRow);
    for (const { firstChild: input } of rows) input.name = "recent-layer"; // the same species may be chosen further down too
    const focused = place.contains(document.activeElement) ? document.activeElement.value : null;
    place.replaceChildren(...(rows.length ? [element("p", "group-title", t("search.recent")), ...rows] : []));
    if (focused) place.querySelector(`input[value="${CSS.escape(focused)}"]`)?.focus();
  }

  function select(id) {
    drawRecents(id);
    const selected = chosen;
    chosen = id;
    for (const input of tree.querySelectorAll("input[type=radio]")) {
      input.checked = input.value === id;
      input.parentElement.classList.toggle("active", input.checked);
      if (input.checked && !isSpecies({ id })) {
        input.closest(".family").open = true;
        if (selected && selected !== id && !input.parentElement.matches(":focus-within")) scrollTo(input.parentElement);
      }
    }
  }

  // In the list alone: scrollIntoView would move the page too.
  function scrollTo(node) {
    const box = node.getBoundingClientRect();
    const frame = panel.getBoundingClientRect();
    if (frame.height && (box.top < frame.top || box.bottom > frame.bottom)) panel.scrollTop += box.top - frame.top - frame.height / 3;
  }

  onLanguage(draw);
  draw();
  return {
    select,
    say(words) {
      message.textContent = sentence(words);
      message.hidden = !words;
      if (words) announce(words);
    },
  };
}

export function skeleton(lines = 3) {
  const node = element("div", "skeleton", ...Array.from({ length: lines }, () => element("span")));
  node.setAttribute("aria-hidden", "true");
  return node;
}
