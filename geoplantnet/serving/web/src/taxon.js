// A species as every list tells it: names, and marks with words for who does not see them.
import { element } from "./dom.js";
import { has, t } from "./i18n.js";

// record: the server's taxon record. -> its scientific name, and the common one where there is one
export function taxonName({ scientificName, vernacularName }) {
  const name = element("span", "names", element("i", "taxon", scientificName));
  if (vernacularName) name.append(" ", element("span", "vernacular", vernacularName));
  return name;
}

// The category of the Red List as a badge of its letters; nothing where it is not known.
export function iucnBadge(code) {
  if (!code) return null;
  const words = t("iucn.label", { name: has(`iucn.${code}`) ? t(`iucn.${code}`) : code });
  const badge = element("span", `iucn iucn-${code}`, element("span", "", code), element("span", "unseen", ` (${words})`));
  badge.title = words;
  return badge;
}

const MARKS = [
  ["tree", "M8 1.5l4.5 6h-2.4l3 4.5H3l3-4.5H3.6zM8 12v2.5"],
  ["invasive", "M8 2l6.2 11.5H1.8zM8 6.2v3.4M8 11.4v.6"],
  ["directive", "M8 1.8l5 2v4.4c0 3-2.1 5-5 6-2.9-1-5-3-5-6V3.8z"],
];

// Tree, invasive, of the Habitats Directive: a picture and its word each.
export function marks(record) {
  return MARKS.filter(([key]) => record[key]).map(([key, path]) => {
    const words = t(`here.${key}`);
    const mark = element("span", `mark-of ${key}`, icon(path), element("span", "unseen", words));
    mark.title = words;
    return mark;
  });
}

export function icon(path) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of Object.entries({ viewBox: "0 0 16 16", width: 15, height: 15, "aria-hidden": "true" })) svg.setAttribute(name, value);
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}
