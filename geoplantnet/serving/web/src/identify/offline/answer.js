// From what a net says of several photos to an answer in the shape of /v2/identify: as `geoplantnet.identify.engine` does it on the server.

const ORGANS = ["leaf", "flower", "fruit", "bark", "habit", "other"];
const MOST = 10;
const SEEN = 0.001; // species less likely are not listed

// outputs: {logits (n, S), organs (n, 6), plant (n,)}; labels: the species list; projects: floras as species positions, or null
export function answerOf(outputs, { card, labels, projects, names, organs, project, place, reject, language }) {
  const n = organs.length;
  const taxa = labels.taxa;
  const predicted = organs.map((_, i) => best(outputs.organs.slice(i * ORGANS.length, (i + 1) * ORGANS.length)));
  const plant = Array.from(outputs.plant);
  const shownAs = organs.map((organ, i) => (organ === "auto" ? ORGANS[predicted[i].at] : organ));
  const told = {
    evidence: "none",
    preferedReferential: project,
    predictedOrgans: predicted.map(({ at, value }, i) => ({ image: String(i), filename: "", organ: ORGANS[at], score: value })),
    version: `${card.name} ${card.version}`,
  };
  if (reject && card.rejects && Math.max(...plant) < card.plant_threshold) return { ...told, rejected: true, results: [] };
  const views = Array.from({ length: n }, (_, i) => softmax(outputs.logits.slice(i * taxa.length, (i + 1) * taxa.length), card.temperature));
  const fused = fuse(views, shownAs.map((organ) => card.view_weights?.[organ] ?? 1));
  const flora = floraOf(projects, project);
  const inside = flora ? fused.map((p, i) => (flora.species.has(i) ? p : 0)) : fused;
  const mass = inside.reduce((sum, p) => sum + p, 0);
  const scores = mass > 0 ? inside.map((p) => p / mass) : fused;
  const list = (ps, keep) =>
    ps
      .map((score, i) => ({ score, i }))
      .filter(({ score, i }) => score >= SEEN && keep(i))
      .sort((a, b) => b.score - a.score || a.i - b.i)
      .slice(0, MOST)
      .map(({ score, i }) => ({ score, taxonID: taxa[i].taxonID, species: speciesOf(taxa[i], names, language), images: [] }));
  return {
    ...told,
    ...(flora ? { evidence: "flora", preferedReferential: flora.title ?? flora.id } : {}),
    results: list(scores, () => true),
    otherResults: { species: flora ? list(fused, (i) => !flora.species.has(i)) : [] },
  };
}

export function softmax(logits, temperature) {
  const top = logits.reduce((most, one) => Math.max(most, one), -Infinity);
  const powers = Array.from(logits, (logit) => Math.exp((logit - top) / temperature));
  const sum = powers.reduce((total, one) => total + one, 0);
  return powers.map((one) => one / sum);
}

// Weighted mean of the log-probabilities, normalised.
export function fuse(views, weights) {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const logs = views[0].map((_, s) => views.reduce((sum, view, i) => sum + (weights[i] / total) * Math.log(Math.max(view[s], 1e-12)), 0));
  return softmax(logs, 1);
}

function floraOf(projects, id) {
  const all = projects?.projects ?? projects ?? [];
  const found = Array.isArray(all) ? all.find((one) => one.id === id) : all[id];
  return found?.species ? { ...found, species: new Set(found.species) } : null;
}

function speciesOf(taxon, names, language) {
  const id = taxon.taxonID;
  const level = (name) => ({ scientificNameWithoutAuthor: name, scientificNameAuthorship: "", scientificName: name });
  return { ...level(taxon.scientificName), genus: level(taxon.genus), family: level(taxon.family), commonNames: names[language]?.[id] ?? [] };
}

const best = (values) => values.reduce((top, value, at) => (value > top.value ? { at, value } : top), { at: 0, value: -1 });
