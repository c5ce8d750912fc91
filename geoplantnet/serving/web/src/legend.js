// The legend, always in view, drawn from the same record as GetLegendGraphic; and the choices that belong to a layer.
import { at, element } from "./dom.js";
import { APPLICABILITY, RELIEF, SPECIES, isSpecies, taxonOf } from "./catalog.js";
import { classCode, className, kilometres, sentence, tickText, told, unitSymbol, unitText } from "./format.js";
import { has, number, onLanguage, t, translate } from "./i18n.js";
import { skeleton } from "./layers.js";
import { showHow } from "./how.js";
import { showRecords } from "./records.js";
import { state } from "./state.js";

const LAMBDA = 0.5; // where the slider begins

// The colours of a layer as a CSS gradient: stops evenly spaced, or hard steps for classes.
export function gradient(layer) {
  if (!layer.classes.length) return `linear-gradient(to right, ${layer.colors.join(", ")})`;
  const share = 100 / layer.classes.length;
  return `linear-gradient(to right, ${layer.classes.map(({ color }, i) => `${color} ${i * share}% ${(i + 1) * share}%`).join(", ")})`;
}

// The style a layer is drawn in under the state: {style, lambda}.
export function styleOf(layer, { presence, lambda, uncertainty }) {
  if (uncertainty && layer.uncertainty) return { style: "uncertainty", lambda: null };
  if (presence && layer.presence) return { style: "presence", lambda };
  return { style: "", lambda: null };
}

// What a legend says of a layer in that style: words in the reader's language.
function shownAs(layer, now) {
  const { style, lambda } = styleOf(layer, now);
  if (style === "uncertainty") {
    const spread = told(layer.uncertainty);
    return { ...spread, family: layer.family, description: "", direction: spread.direction || t("legend.uncertainty.direction") };
  }
  const words = told(layer);
  if (style !== "presence") return words;
  const rule = lambda === null ? t("legend.present.set") : t("legend.present.lambda", { lambda: number(lambda, 2) });
  const classes = layer.presence.map((entry) => ({ ...entry, label: entry.value === 1 ? rule : t("legend.absent"), code: entry.value === 1 ? "✓" : "–" }));
  return { ...words, classes, unit: "class", direction: t("legend.presence.direction") };
}

export function createLegend(catalog, narrow) {
  const body = at("legend-body");
  body.innerHTML = `
    <div class="legend-head">
      <p id="legend-family" class="eyebrow"></p>
      <h2 id="legend-title"></h2>
    </div>
    <div id="legend-keys"></div>
    <p id="legend-hatch" class="hatch-key" hidden><span class="stripes" aria-hidden="true"></span><span data-t="legend.hatch.text"></span></p>
    <p id="legend-note" class="legend-note" hidden></p>
    <details id="legend-options" class="options" open>
      <summary data-t="legend.options"></summary>
      <div class="rows">
        <fieldset id="view-choice" class="segments">
          <legend class="unseen" data-t="legend.view"></legend>
          <label><input type="radio" name="view" value="suitability"><span data-t="legend.suitability"></span></label>
          <label><input type="radio" name="view" value="presence"><span data-t="legend.presence"></span></label>
        </fieldset>
        <fieldset id="rule-choice" class="rule">
          <legend data-t="legend.rule"></legend>
          <label class="check"><input type="radio" name="rule" value="set"><span data-t="legend.rule.set"></span></label>
          <div class="with-slider">
            <label class="check"><input type="radio" name="rule" value="lambda"><span data-t="legend.rule.lambda"></span></label>
            <input id="lambda" type="range" min="0" max="1" step="0.01" data-t-label="legend.lambda"><output id="lambda-value" for="lambda"></output>
          </div>
        </fieldset>
        <label id="scenario-choice" class="pair"><span data-t="legend.scenario"></span><select id="scenario"></select></label>
        <div class="checks">
          <label id="uncertainty-choice" class="check"><input id="uncertainty" type="checkbox"><span data-t="legend.uncertainty"></span></label>
          <label id="hatch-choice" class="check"><input id="hatch" type="checkbox"><span data-t="legend.hatch"></span></label>
          <label id="relief-choice" class="check"><input id="relief" type="checkbox"><span data-t="legend.relief"></span></label>
        </div>
        <div class="pair"><label for="opacity" data-t="legend.opacity"></label><span class="with-slider"><input id="opacity" type="range" min="0" max="100" step="5"><output id="opacity-value" for="opacity"></output></span></div>
        <label id="swipe-choice" class="pair" hidden><span data-t="swipe.with"></span><select id="swipe-layer"></select></label>
      </div>
    </details>
    <div class="legend-actions">
      <button id="how" type="button" class="button small strong" data-t="how.button"></button>
      <button id="records" type="button" class="button small" data-t="records.button" hidden></button>
      <button id="compare" type="button" class="button small" aria-pressed="false"></button>
    </div>`;
  translate(body);
  at("legend-options").open = !narrow.matches;
  at("how").addEventListener("click", () => {
    const layer = catalog.known(state.get().layer);
    const scenario = layer && epochOf(layer, state.get().scenario);
    showHow(layer, scenario === catalog.epochs[0]?.name ? null : scenario, at("how"));
  });
  at("records").addEventListener("click", () => {
    const layer = catalog.known(state.get().layer);
    showRecords(taxonOf(layer.id), told(layer).title, at("records"));
  });
  body.addEventListener("change", ({ target }) => {
    const { name, id, value, checked } = target;
    if (name === "view") state.set({ presence: value === "presence", uncertainty: false });
    if (name === "rule") state.set({ lambda: value === "lambda" ? Number(at("lambda").value) : null });
    if (["uncertainty", "hatch", "relief"].includes(id)) state.set({ [id]: checked });
    if (id === "scenario") state.set({ scenario: value || null });
  });
  at("lambda").addEventListener("input", () => state.set({ lambda: Number(at("lambda").value) }));
  at("opacity").addEventListener("input", () => state.set({ opacity: Number(at("opacity").value) }));
  let reading = null; // {id, value} under the mark

  function draw() {
    const now = state.get();
    const layer = catalog.known(now.layer);
    body.hidden = false;
    if (!layer) return;
    const shown = shownAs(layer, now);
    const epochs = catalog.epochsOf(layer);
    const epoch = epochs.length > 1 ? catalog.epochTitle(epochOf(layer, now.scenario)) : "";
    at("legend").dataset.layer = layer.id;
    at("legend-family").textContent = [t(has(`family.${layer.family}`) ? `family.${layer.family}` : layer.family), epoch].filter(Boolean).join(" · ");
    at("legend-title").textContent = shown.title;
    at("legend-title").classList.toggle("taxon", layer.family === SPECIES);
    const keys = [key(shown, now.swipe ? t("legend.left") : "")];
    const other = now.swipe && catalog.known(now.swipe.layer);
    if (other) {
      const side = shownAs(other, now);
      keys.push(key(side, t("legend.right"), `${side.title} · ${catalog.epochTitle(epochOf(other, now.swipe.scenario))}`));
    }
    at("legend-keys").replaceChildren(...keys);
    at("legend-hatch").hidden = !now.hatch || !catalog.listed.has(APPLICABILITY);
    const notes = [];
    if (layer.generalised) notes.push(t("legend.generalised", { km: kilometres(layer.generalised) }));
    if (now.scenario && !epochs.some(({ name }) => name === now.scenario)) notes.push(t("legend.scenario.missing"));
    at("legend-note").textContent = notes.join(" ");
    at("legend-note").hidden = !notes.length;
    drawOptions(layer, now);
    markLegend();
  }

  const epochOf = (layer, scenario) => {
    const epochs = catalog.epochsOf(layer);
    return epochs.find(({ name }) => name === scenario)?.name ?? epochs[0]?.name ?? null;
  };

  function drawOptions(layer, now) {
    const drawn = styleOf(layer, now).style;
    at("view-choice").hidden = !layer.presence;
    check("view", now.presence ? "presence" : "suitability");
    at("rule-choice").hidden = drawn !== "presence";
    check("rule", now.lambda === null ? "set" : "lambda");
    at("lambda").value = now.lambda ?? LAMBDA;
    at("lambda").disabled = now.lambda === null;
    at("lambda-value").textContent = number(Number(at("lambda").value), 2);
    at("uncertainty").checked = drawn === "uncertainty";
    at("uncertainty").disabled = !layer.uncertainty;
    at("uncertainty-choice").title = layer.uncertainty ? "" : t("legend.uncertainty.none");
    at("hatch-choice").hidden = !catalog.listed.has(APPLICABILITY);
    at("hatch").checked = now.hatch;
    at("relief-choice").hidden = !catalog.listed.has(RELIEF) || layer.id === RELIEF;
    at("relief").checked = now.relief;
    at("opacity").value = now.opacity;
    at("opacity-value").textContent = `${number(now.opacity)} %`;
    const epochs = catalog.epochsOf(layer);
    at("scenario-choice").hidden = catalog.epochs.length < 2;
    fillSelect(at("scenario"), epochs.map(({ name }, i) => [name === catalog.epochs[0]?.name ? "" : name, i === 0 && name === catalog.epochs[0]?.name ? t("legend.scenario.today") : catalog.epochTitle(name)]), now.scenario ?? "");
    at("records").hidden = !isSpecies(layer);
    at("compare").textContent = t(now.swipe ? "swipe.stop" : "swipe.start");
    at("compare").setAttribute("aria-pressed", String(Boolean(now.swipe)));
    at("swipe-choice").hidden = !now.swipe;
  }

  function check(name, value) {
    for (const input of body.querySelectorAll(`input[name=${name}]`)) input.checked = input.value === value;
  }

  // Point at the value that was read on the map; null takes the pointer away.
  function markLegend() {
    for (const node of document.querySelectorAll("#legend-keys .pointer")) node.remove();
    const layer = catalog.known(state.get().layer);
    const value = reading && layer && reading.id === layer.id && !styleOf(layer, state.get()).style ? reading.value : null;
    for (const node of document.querySelectorAll("#legend-keys [data-value]")) {
      node.classList.toggle("here", value !== null && Number(node.dataset.value) === value);
    }
    const bar = document.querySelector("#legend-keys .bar");
    if (!bar || value === null || !layer.range) return;
    const pointer = element("span", "pointer");
    const [low, high] = layer.range;
    pointer.style.left = `${100 * Math.min(Math.max((value - low) / (high - low), 0), 1)}%`;
    bar.append(pointer);
  }

  onLanguage(draw);
  return {
    draw,
    // Before the first legend is known.
    wait() {
      if (!catalog.known(state.get().layer)) at("legend-keys").replaceChildren(skeleton());
    },
    mark(id, value) {
      reading = value === null ? null : { id, value };
      markLegend();
    },
  };
}

export function fillSelect(select, pairs, value) {
  select.replaceChildren(
    ...pairs.map(([key, words]) => {
      const option = element("option", "", words);
      option.value = key;
      return option;
    }),
  );
  select.value = value;
}

// One key: unit, colours with numbers or classes, direction, how to read it.
function key(layer, side, title = "") {
  const node = element("div", "key");
  if (side) node.append(element("p", "side", element("b", "", side), title ? ` ${title}` : ""));
  node.append(element("p", "unit", unitText(layer)));
  node.append(layer.classes.length ? classList(layer) : ramp(layer));
  if (layer.direction) node.append(element("p", "direction", sentence(layer.direction)));
  if (!side) {
    const more = element("details", "reading");
    more.append(element("summary", "", t("legend.how-to-read")));
    if (layer.description) more.append(element("p", "", layer.description));
    more.append(element("p", "faint", t(layer.classes.length ? "legend.hint.classes" : "legend.hint.ramp")));
    node.append(more);
  }
  return node;
}

function ramp(layer) {
  const figure = element("div", "ramp");
  figure.setAttribute("role", "img");
  const [low, high] = [tickText(layer.ticks[0]), tickText(layer.ticks.at(-1))];
  figure.setAttribute("aria-label", `${t("legend.colours", { low, high })} ${unitSymbol(layer)}`.trim());
  const bar = element("div", "bar");
  bar.style.background = gradient(layer);
  const scale = element("div", "ticks");
  const [from, to] = layer.range;
  for (const tick of layer.ticks) {
    const node = element("span", "tick", tickText(tick));
    node.style.left = `${(100 * (tick.value - from)) / (to - from)}%`;
    scale.append(node);
  }
  figure.append(bar, scale);
  return figure;
}

function classList(layer) {
  const list = element("ul", "classes");
  for (const [i, entry] of layer.classes.entries()) {
    const item = element("li");
    item.dataset.value = entry.value;
    item.append(swatch(entry, entry.code ?? classCode(entry, i)), element("span", "", className(entry)));
    list.append(item);
  }
  return list;
}

// A class's colour with its code written on it, dark on light or light on dark.
export function swatch({ color }, code) {
  const node = element("span", "swatch", code);
  node.style.background = color;
  node.style.color = luminance(color) > 0.179 ? "#111" : "#fff";
  return node;
}

// Relative luminance (WCAG 2.2).
function luminance(color) {
  const [r, g, b] = [1, 3, 5].map((i) => {
    const part = Number.parseInt(color.slice(i, i + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
