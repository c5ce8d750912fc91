// The legend, always in view, drawn from the same record as GetLegendGraphic: title, unit, colours with numbers, direction in words.
import { unitSymbol, unitText } from "./format.js";

const at = (id) => document.getElementById(id);

export function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

// The colours of a layer as a CSS gradient: stops evenly spaced, or hard steps for classes.
export function gradient(layer) {
  if (!layer.classes.length) return `linear-gradient(to right, ${layer.colors.join(", ")})`;
  const share = 100 / layer.classes.length;
  return `linear-gradient(to right, ${layer.classes.map(({ color }, i) => `${color} ${i * share}% ${(i + 1) * share}%`).join(", ")})`;
}

export function showLegend(layer) {
  at("legend").dataset.layer = layer.id;
  at("legend-family").textContent = layer.family;
  at("legend-title").textContent = layer.title;
  at("legend-title").classList.toggle("taxon", layer.family === "Species");
  at("legend-unit").textContent = unitText(layer);
  at("legend-key").replaceChildren(layer.classes.length ? classList(layer) : ramp(layer));
  at("legend-direction").textContent = sentence(layer.direction);
  at("legend-direction").hidden = !layer.direction;
  at("legend-description").textContent = layer.description;
  at("legend-hint").textContent = layer.classes.length
    ? "Where the map shows no colour there is no data."
    : "Values beyond the ends of the scale take the colour of the nearer end. Where the map shows no colour there is no data.";
  at("legend-body").hidden = false;
}

// Point at the value that was read on the map; null takes the pointer away.
export function markLegend(layer, value) {
  for (const node of document.querySelectorAll("#legend-key .mark")) node.remove();
  for (const node of document.querySelectorAll("#legend-key [data-value]")) {
    node.classList.toggle("here", value !== null && Number(node.dataset.value) === value);
  }
  const bar = document.querySelector("#legend-key .bar");
  if (!bar || value === null) return;
  const mark = element("span", "mark");
  mark.style.left = `${100 * Math.min(Math.max(share(layer, value), 0), 1)}%`;
  bar.append(mark);
}

function ramp(layer) {
  const figure = element("div", "ramp");
  figure.setAttribute("role", "img");
  const ends = [layer.ticks[0].label, layer.ticks.at(-1).label];
  figure.setAttribute("aria-label", `Colours from ${ends.join(" to ")} ${unitSymbol(layer)}`.trim());
  const bar = element("div", "bar");
  bar.style.background = gradient(layer);
  const scale = element("div", "ticks");
  for (const { value, label } of layer.ticks) {
    const tick = element("span", "tick", label);
    tick.style.left = `${100 * share(layer, value)}%`;
    scale.append(tick);
  }
  figure.append(bar, scale);
  return figure;
}

function classList(layer) {
  const list = element("ul", "classes");
  for (const { value, label, color } of layer.classes) {
    const item = element("li");
    item.dataset.value = value;
    const swatch = element("span", "swatch");
    swatch.style.background = color;
    item.append(swatch, element("span", "", label));
    list.append(item);
  }
  return list;
}

// Where a value stands between the ends of the ramp, 0 to 1 inside.
function share({ range: [low, high] }, value) {
  return (value - low) / (high - low);
}

function sentence(words) {
  return words ? words[0].toUpperCase() + words.slice(1) : "";
}
