// Numbers, units, places and epochs in words.
import { has, lang, number, t } from "./i18n.js";

// The layer with its words in the reader's language: {...layer, title, description, direction, classes}.
export function told(layer) {
  if (lang() !== "fr" || !layer.fr) return layer;
  const { title, description, direction, classes } = layer.fr;
  return {
    ...layer,
    title: title || layer.title,
    description: description || layer.description,
    direction: direction || "",
    classes: layer.classes.map((entry, i) => ({ ...entry, label: classes?.[i] || entry.label })),
  };
}

// How many decimals tell values of a layer apart: about three significant digits of its range.
export function decimalsOf([low, high]) {
  return Math.min(Math.max(2 - Math.floor(Math.log10(high - low) + 1e-9), 0), 6);
}

// A unit as people write it; nothing for a proportion or a class.
export function unitSymbol({ unit, classes }) {
  if (!unit || unit === "1" || unit === "class" || classes?.length) return "";
  return has(`unit.${unit}`) ? t(`unit.${unit}`) : unit;
}

// The unit as the legend states it.
export function unitText(layer) {
  if (layer.classes.length) return t("legend.classes");
  const symbol = unitSymbol(layer);
  if (symbol) return t("legend.unit", { unit: symbol });
  const [low, high] = layer.range;
  return t(low >= 0 && high <= 1 ? "legend.share" : "legend.no-unit");
}

// A tick of the scale: the server's digits, the reader's decimal sign.
export function tickText({ value, label }) {
  if (!/^-?\d+(\.\d+)?$/.test(label)) return label;
  return number(value, label.split(".")[1]?.length ?? 0);
}

// The code a class begins with ("T1 Broadleaved forest", "VU Vulnerable"), or its place in the list: what tells it apart without colour.
export function classCode({ label }, index) {
  return /^([A-Z]{1,2}(?:\d[\dA-Z]*)?[a-z]?)\s+\S/.exec(label)?.[1] ?? String(index + 1);
}

// The label without its code.
export function className({ label }) {
  return label.replace(/^[A-Z]{1,2}(?:\d[\dA-Z]*)?[a-z]?\s+(?=\S)/, "");
}

// [lon, lat] -> "46.4812° N, 8.0123° E" (four decimals: about 10 m).
export function placeText([longitude, latitude]) {
  return t("place.text", {
    lat: number(Math.abs(latitude), 4),
    ns: t(latitude < 0 ? "place.south" : "place.north"),
    lon: number(Math.abs(longitude), 4),
    ew: t(longitude < 0 ? "place.west" : "place.east"),
  });
}

// Metres: "300 m", "12.5 km".
export function lengthText(metres) {
  return metres < 1000 ? `${number(metres)} m` : `${number(metres / 1000, metres % 1000 && metres < 20_000 ? 1 : 0)} km`;
}

export const kilometres = (metres) => number(metres / 1000, metres % 1000 ? 1 : 0);

export function sentence(words) {
  return words ? words[0].toUpperCase() + words.slice(1) : "";
}

// Words without accents and capitals, for comparing.
export function fold(text) {
  return text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
}
