// Two maps side by side: left of the divider the active layer, right of it another, or another period.
import { announce } from "./announce.js";
import { at, element } from "./dom.js";
import { speciesLayer } from "./catalog.js";
import { told } from "./format.js";
import { onLanguage, percent, t } from "./i18n.js";
import { familyTitle } from "./layers.js";
import { recents } from "./recents.js";
import { state } from "./state.js";

const THUMB = 44; // px, as in style.css

// room() -> {left, width} in px: what the panels leave free of the map.
export function createSwipe(catalog, map, room) {
  const slider = at("swipe-at");

  at("compare").addEventListener("click", () => {
    const now = state.get();
    if (now.swipe) return state.set({ swipe: null });
    state.set({ swipe: { ...partner(now), at: 50 } });
    const { left, right } = names();
    announce(t("swipe.started", { left, right }));
    slider.focus();
  });
  at("swipe-layer").addEventListener("change", ({ target }) => {
    const [layer, scenario] = JSON.parse(target.value);
    state.set({ swipe: { ...state.get().swipe, layer, scenario } });
  });
  slider.addEventListener("input", () => state.set({ swipe: { ...state.get().swipe, at: Number(slider.value) } }));

  // The same layer in another period where there is one, else the next layer.
  function partner({ layer, scenario }) {
    const known = catalog.known(layer);
    const other = catalog.epochsOf(known).find(({ name }, i) => (scenario ? name !== scenario : i > 0));
    if (other) return { layer, scenario: other === catalog.epochs[0] ? null : other.name };
    const ids = [...catalog.listed.keys()].filter((id) => id !== layer && id !== "relief");
    return { layer: ids[0] ?? layer, scenario: null };
  }

  function choices(now) {
    const known = catalog.known(now.layer);
    const epochs = catalog.epochsOf(known);
    const pick = (layer, scenario, words) => {
      const option = element("option", "", words);
      option.value = JSON.stringify([layer, scenario]);
      return option;
    };
    const scenarioOf = (name) => (name === catalog.epochs[0]?.name ? null : name);
    const group = (label, options) => {
      const node = element("optgroup", "", ...options);
      node.label = label;
      return node;
    };
    const groups = [];
    if (epochs.length > 1) {
      groups.push(group(told(known).title, epochs.map(({ name }) => pick(now.layer, scenarioOf(name), catalog.epochTitle(name)))));
    }
    const lately = recents().filter(({ taxonID }) => speciesLayer(taxonID) !== now.layer);
    if (lately.length) groups.push(group(t("search.recent"), lately.map((one) => pick(speciesLayer(one.taxonID), null, one.scientificName))));
    for (const { name, layers } of catalog.families) {
      const others = layers.filter(({ id }) => id !== now.layer && !id.startsWith("species."));
      if (others.length) groups.push(group(familyTitle(name), others.map((layer) => pick(layer.id, null, told(layer).title))));
    }
    const value = JSON.stringify([now.swipe.layer, now.swipe.scenario]);
    const flat = groups.flatMap((node) => [...node.children]).map((option) => option.value);
    if (!flat.includes(value)) {
      const other = catalog.known(now.swipe.layer);
      if (other) groups.unshift(pick(now.swipe.layer, now.swipe.scenario, `${told(other).title} · ${catalog.epochTitle(now.swipe.scenario)}`));
    }
    at("swipe-layer").replaceChildren(...groups);
    at("swipe-layer").value = value;
  }

  function names() {
    const { layer, scenario, swipe } = state.get();
    const [one, two] = [catalog.known(layer), catalog.known(swipe.layer)];
    const name = (which, epoch) => (which ? told(which).title + (catalog.epochs.length > 1 ? ` · ${catalog.epochTitle(epoch)}` : "") : "");
    return { left: name(one, scenario), right: name(two, swipe.scenario) };
  }

  function place() {
    const { swipe } = state.get();
    if (!swipe) return;
    const { left, width } = room();
    Object.assign(slider.style, { left: `${left}px`, width: `${width}px` });
    const x = left + THUMB / 2 + ((width - THUMB) * swipe.at) / 100;
    at("swipe-line").style.transform = `translateX(${x}px)`;
    map.divide(x);
  }

  function draw() {
    const now = state.get();
    at("swipe").hidden = !now.swipe;
    if (!now.swipe) return;
    const { left, right } = names();
    slider.value = now.swipe.at;
    slider.setAttribute("aria-valuetext", t("swipe.value", { left, share: percent(now.swipe.at / 100) }));
    at("swipe-left").textContent = left;
    at("swipe-right").textContent = right;
    choices(now);
    place();
  }

  onLanguage(draw);
  return { draw, place };
}
