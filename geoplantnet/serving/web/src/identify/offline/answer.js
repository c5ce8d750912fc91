// From what a net says of several photos to an answer in the shape of /v2/identify: `geoplantnet.identify.engine` and `fusion` without a network,
// so without the place's map and without similar photos. A test holds the two to the same scores.

const ORGANS = ["leaf", "flower", "fruit", "bark", "habit", "other"];
const MOST = 10;
const MOST_OUTSIDE = 5;
const SAME = 0.9995; // photos whose features are as similar as this, by cosine, are one photo sent twice
const SURE = 0.95; // probability that the answer's set of species holds the right one
const ENOUGH = 0.9; // share of an answer that another flora must hold to be named

// outputs: {logits (n, S), features (n, d), organs (n, 6), plant (n,)}; labels: the species list; projects: floras as positions in it, or null
export function answerOf(outputs, { card, labels, projects, names, organs, project, reject, language }) {
  const { taxa } = labels;
  const n = organs.length;
  const rows = (values) => Array.from({ length: n }, (_, i) => Array.from(values.slice((i * values.length) / n, ((i + 1) * values.length) / n)));
  const shown = rows(outputs.organs).map((row, i) => (organs[i] === "auto" ? row : ORGANS.map((organ) => Number(organ === organs[i]))));
  const told = {
    evidence: "none",
    preferedReferential: project,
    version: `${card.name} ${card.version}`,
    predictedOrgans: shown.map((row, i) => ({ image: String(i), filename: "", organ: ORGANS[row.indexOf(Math.max(...row))], score: Math.max(...row) })),
  };
  if (reject && outputs.plant.every((p) => p < card.plant_threshold)) return { ...told, rejected: true, results: [] };
  const views = rows(outputs.logits).map((logits) => softmax(logits, card.temperature));
  const weights = shown.map((row) => row.reduce((sum, p, o) => sum + p * (card.view_weights?.[ORGANS[o]] ?? 1), 0));
  const seen = fuse(views, weights, rows(outputs.features), card.view_sharpness ?? 0.5);
  const flora = (projects ?? []).find(({ id, species }) => id === project && species) ?? null;
  const p = flora ? within(seen, flora.species) : seen;
  const all = seen.map((_, i) => i);
  const list = (scores, most, among) => best(scores, among).slice(0, most).map((i) => ({ score: scores[i], taxonID: taxa[i].taxonID, species: speciesOf(taxa[i], names, language), images: [] }));
  const inside = new Set(flora?.species ?? all);
  return {
    ...told,
    preferedReferential: flora?.title ?? project,
    switchToProject: (flora && better(seen, flora, projects)) || undefined,
    results: list(p, MOST, flora?.species ?? all),
    otherResults: { species: list(seen, MOST_OUTSIDE, all.filter((i) => !inside.has(i))) },
    answerSet: fewest(p, best(p, all)).map((i) => taxa[i].taxonID),
  };
}

export function softmax(logits, temperature) {
  const top = logits.reduce((most, one) => Math.max(most, one), -Infinity);
  const powers = logits.map((logit) => Math.exp((logit - top) / temperature));
  const sum = powers.reduce((total, one) => total + one, 0);
  return powers.map((one) => one / sum);
}

// A weighted mean of log-probabilities, times the number of photos that differ to the power of `sharpness`; the same photo twice is one.
export function fuse(views, weights, features, sharpness) {
  const groups = new Map();
  for (const [i, group] of sameOf(features).entries()) groups.set(group, [...(groups.get(group) ?? []), i]);
  const mean = (values) => values.reduce((sum, one) => sum + one, 0) / values.length;
  const members = [...groups.values()];
  const w = members.map((some) => mean(some.map((i) => weights[i])));
  const total = w.reduce((sum, one) => sum + one, 0);
  const sharp = members.length ** sharpness;
  const pooled = views[0].map((_, s) => members.reduce((sum, some, g) => sum + w[g] * mean(some.map((i) => Math.log(Math.max(views[i][s], 1e-30)))), 0) * (sharp / total));
  return softmax(pooled, 1);
}

// Photos of one number are the same photo.
function sameOf(features) {
  const group = features.map((_, i) => i);
  for (let i = 0; i < features.length; i += 1) {
    for (let j = i + 1; j < features.length; j += 1) {
      const cosine = features[i].reduce((sum, one, d) => sum + one * features[j][d], 0);
      if (cosine > SAME) group.forEach((one, k) => one === group[j] && k !== j && (group[k] = group[i]));
      if (cosine > SAME) group[j] = group[i];
    }
  }
  return group;
}

function within(seen, species) {
  const sum = species.reduce((total, i) => total + seen[i], 0);
  const kept = seen.map(() => 0);
  for (const i of species) kept[i] = sum > 0 ? seen[i] / sum : 1 / species.length;
  return kept;
}

// The smallest flora that holds nearly all of an answer which lies mostly outside of `flora`; its id, or null.
function better(seen, flora, projects) {
  const held = (species) => species.reduce((sum, i) => sum + seen[i], 0);
  if (held(flora.species) >= 0.5) return null;
  const fitting = [...projects, { id: "all", species: seen.map((_, i) => i) }].filter(({ species }) => species && held(species) >= ENOUGH).sort((a, b) => a.species.length - b.species.length);
  return fitting[0]?.id ?? null;
}

const best = (p, among) => [...among].sort((a, b) => p[b] - p[a] || a - b);

function fewest(p, order) {
  let sum = 0;
  const n = order.findIndex((i) => (sum += p[i]) >= SURE - 1e-12);
  return order.slice(0, n < 0 ? order.length : n + 1);
}

function speciesOf(taxon, names, language) {
  const level = (name) => ({ scientificNameWithoutAuthor: name, scientificNameAuthorship: "", scientificName: name });
  return { ...level(taxon.scientificName), genus: level(taxon.genus), family: level(taxon.family), commonNames: names[language]?.[taxon.taxonID] ?? [] };
}
