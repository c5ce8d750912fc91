// The species of a report as rows: groups, order, filter. What is not known is null, and is never counted as a no.

const THREATENED = new Set(["VU", "EN", "CR"]);
// Red List categories from the least to the worst; what says nothing stands behind them.
const CATEGORIES = ["LC", "NT", "VU", "EN", "CR", "EW", "EX"];

export const GROUPS = {
  protected: (species) => species.directive,
  threatened: (species) => (species.iucn === null || ["DD", "NE"].includes(species.iucn) ? null : THREATENED.has(species.iucn)),
  invasive: (species) => species.invasive,
  trees: (species) => species.tree,
  narrow_ranged: (species) => species.narrowRanged,
};

// Values that columns are ordered by; null is not known.
export const KEYS = {
  name: (species) => species.scientificName,
  coverage: (species) => species.coverage,
  iucn: (species) => (CATEGORIES.includes(species.iucn) ? CATEGORIES.indexOf(species.iucn) : null),
  tree: (species) => flag(species.tree),
  invasive: (species) => flag(species.invasive),
  directive: (species) => flag(species.directive),
  endemic: (species) => flag(species.narrowRanged),
  id: (species) => species.taxonID,
};

// Ordered anew; what is not known comes last whatever the direction, and what is equal keeps its order.
export function sorted(species, column, descending) {
  const key = KEYS[column];
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b);
  return [...species].sort((one, other) => {
    const [a, b] = [key(one), key(other)];
    if (a === null || b === null) return (a === null) - (b === null);
    return descending ? compare(b, a) : compare(a, b);
  });
}

// Those whose names, family or id hold all the words (accents and case folded), and that are known to be of all groups.
export function filtered(species, text, groups) {
  const words = folded(text).split(/\s+/).filter(Boolean);
  return species.filter((one) => {
    if (![...groups].every((group) => GROUPS[group](one) === true)) return false;
    if (words.length === 0) return true;
    const names = folded([one.scientificName, one.vernacularName, one.family, one.taxonID].filter(Boolean).join(" "));
    return words.every((word) => names.includes(word));
  });
}

// Of two reports: every species of either, what each says of it, and the difference in hundredths of coverage.
// side: "a" | "b" | "both"
export function joined(a, b) {
  const others = new Map(b.map((species) => [species.taxonID, species]));
  const rows = a.map((species) => {
    const other = others.get(species.taxonID);
    others.delete(species.taxonID);
    return { ...species, side: other ? "both" : "a", a: species, b: other ?? null };
  });
  rows.push(...[...others.values()].map((species) => ({ ...species, side: "b", a: null, b: species })));
  return rows.map((row) => ({ ...row, difference: (row.b?.coverage ?? 0) - (row.a?.coverage ?? 0) }));
}

export function folded(text) {
  return text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
}

function flag(value) {
  return value === null || value === undefined ? null : Number(value);
}
