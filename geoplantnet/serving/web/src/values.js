// What stands at one place: the active layer first, then every indicator, with units; "no data" in words.
import { unitSymbol, valueText } from "./format.js";
import { element } from "./legend.js";

const at = (id) => document.getElementById(id);

export function showReading(place) {
  at("values").hidden = false;
  at("values-title").textContent = place;
  at("values-body").replaceChildren(element("p", "faint", "Reading the values …"));
}

// values: Map layer id -> number | null. `layers`: active first.
export function showValues(layers, values) {
  const [active, ...others] = layers;
  if (layers.every((layer) => (values.get(layer.id) ?? null) === null)) {
    at("values-body").replaceChildren(element("p", "nothing", "No data here: this place lies outside the mapped area."));
    return;
  }
  const head = element("p", "reading");
  head.append(amount(active, values), element("span", titleClass(active), active.title));
  head.classList.toggle("words", active.classes.length > 0);
  const list = element("dl");
  for (const layer of others) {
    const pair = element("div");
    const answer = element("dd");
    answer.append(amount(layer, values));
    pair.append(element("dt", titleClass(layer), layer.title), answer);
    list.append(pair);
  }
  at("values-body").replaceChildren(head, list);
}

export function showFailure(message, retry) {
  const button = element("button", "button", "Try again");
  button.type = "button";
  button.addEventListener("click", retry);
  at("values-body").replaceChildren(element("p", "nothing", message), button);
}

export function hideValues() {
  at("values").hidden = true;
}

// <data> keeps the number as served; the text is rounded for people.
function amount(layer, values) {
  const value = values.get(layer.id) ?? null;
  const node = element("data", value === null ? "none" : "", valueText(value, layer));
  node.value = value === null ? "" : String(value);
  node.dataset.layer = layer.id;
  const known = layer.classes.find((entry) => entry.value === value);
  if (known) {
    const swatch = element("span", "swatch");
    swatch.style.background = known.color;
    node.prepend(swatch);
  }
  const symbol = unitSymbol(layer);
  if (value !== null && symbol) node.append(element("span", "symbol", ` ${symbol}`));
  return node;
}

function titleClass({ family }) {
  return family === "Species" ? "taxon" : "";
}
