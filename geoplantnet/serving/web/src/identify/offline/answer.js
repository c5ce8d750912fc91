// From what a net says of several photos to an answer in the shape of /v2/identify: `geoplantnet.identify.engine` and `fusion` without a network,
// so without the place's map and flora and without similar photos. A test holds the two to the same scores.

const ORGANS = ["leaf", "flower", "fruit", "bark", "habit", "other"];
const RESERVED = ["all", "best"]; // every species
const MOST = 10;
const CREDIBLE = 0.9; // probability that the answer's set of species holds
const HOLDS = 0.9; // share of the probability from which on a flora holds what the photos show
const DOUBT = 0.02; // share of a photo's answer that is spread over all species where several differ
const [ALIKE, DIFFERENT] = [4, 12]; // grey levels between the thumbnails of one photo stored anew, and of two photos
const THUMB = 16;

// outputs: {logits (n, S), organs (n, 6), plant (n,)} of pixels (n, size, size, 3); labels: the species list; projects: floras as positions in it, or null
export function answerOf(outputs, pixels, { card, labels, projects, names, organs, project, reject, language }) {
  const { taxa } = labels;
  const n = organs.length;
  const rows = (values) => Array.from({ length: n }, (_, i) => Array.from(values.slice((i * values.length) / n, ((i + 1) * values.length) / n)));
  const seen = rows(outputs.organs);
  const told = {
    evidence: "none",
    preferedReferential: project,
    version: `${card.name} ${card.version}`,
    predictedOrgans: seen.map((row, i) => ({ image: String(i), filename: "", ...organOf(row, organs[i], card) })),
  };
  const plants = Array.from(outputs.plant, (p) => !card.rejects || p >= card.plant_threshold);
  const any = plants.some(Boolean);
  if (reject && !any) return { ...told, rejected: true, results: [] };
  const shows = seen.map((row, i) => (organs[i] !== "auto" ? ORGANS.map((organ) => Number(organ === organs[i])) : card.organs ? row : ORGANS.map(() => 1 / ORGANS.length)));
  const weights = shows.map((row, i) => Number(plants[i] || !any) * row.reduce((sum, p, o) => sum + p * (card.view_weights?.[ORGANS[o]] ?? 1), 0));
  const logP = fuse(rows(outputs.logits).map((logits) => logSoftmax(logits.map((one) => one / card.temperature))), weights, alike(rows(pixels), card.size), card.view_gain ?? 0.5);
  const p = logP.map(Math.exp);
  const floras = projects?.projects ?? [];
  const flora = RESERVED.includes(project) ? null : (floras.find(({ id }) => id === project) ?? null);
  const own = flora?.species ?? p.map((_, i) => i);
  const inside = new Set(own);
  const shares = logSoftmax(own.map((i) => logP[i])).map(Math.exp);
  const within = p.map(() => 0);
  for (const [k, i] of own.entries()) within[i] = shares[k];
  const order = ranked(within, own);
  const list = (scores, some) => some.slice(0, MOST).map((i) => ({ score: scores[i], taxonID: taxa[i].taxonID, species: speciesOf(taxa[i], names, language), images: [] }));
  const beyond = ranked(p, p.map((_, i) => i).filter((i) => !inside.has(i)));
  return {
    ...told,
    preferedReferential: flora?.title || project,
    switchToProject: flora ? betterThan(flora, floras, p) : undefined,
    results: list(within, order),
    otherResults: { species: list(p, beyond) },
    answerSet: credible(within, order).map((i) => taxa[i].taxonID),
  };
}

// The net's word, or the reader's where the net cannot tell.
function organOf(row, said, card) {
  if (!card.organs) return said === "auto" ? { organ: "other", score: 1 / ORGANS.length } : { organ: said, score: 1 };
  const score = Math.max(...row);
  return { organ: ORGANS[row.indexOf(score)], score };
}

function logSumExp(values) {
  const top = values.reduce((most, one) => Math.max(most, one), -Infinity);
  return top + Math.log(values.reduce((sum, one) => sum + Math.exp(one - top), 0));
}

function logSoftmax(values) {
  const whole = logSumExp(values);
  return values.map((one) => one - whole);
}

// (n, n): 1 = the same photo, 0 = another one, by the root mean square difference of thumbnails
function alike(photos, size) {
  const cells = Math.min(THUMB, size);
  const edges = Array.from({ length: cells + 1 }, (_, i) => Math.trunc((i * size) / cells));
  const thumbs = photos.map((pixels) => thumbOf(pixels, size, edges));
  return thumbs.map((one) =>
    thumbs.map((other) => {
      const apart = Math.sqrt(one.reduce((sum, value, k) => sum + (value - other[k]) ** 2, 0) / one.length);
      return Math.min(1, Math.max(0, (DIFFERENT - apart) / (DIFFERENT - ALIKE)));
    }),
  );
}

function thumbOf(pixels, size, edges) {
  const thumb = [];
  for (let v = 0; v + 1 < edges.length; v += 1) {
    for (let u = 0; u + 1 < edges.length; u += 1) {
      const sums = [0, 0, 0];
      for (let y = edges[v]; y < edges[v + 1]; y += 1) {
        for (let x = edges[u]; x < edges[u + 1]; x += 1) for (let c = 0; c < 3; c += 1) sums[c] += pixels[(y * size + x) * 3 + c];
      }
      const area = (edges[v + 1] - edges[v]) * (edges[u + 1] - edges[u]);
      thumb.push(...sums.map((sum) => sum / area));
    }
  }
  return thumb;
}

// ln p (S,) of one plant from ln p of n photos: ln p = m^gain * sum(u_i ln p_i) + constant; m is how many photos that differ they are worth.
function fuse(logs, weights, same, gain) {
  const counted = (i, j) => (weights[j] > 0 ? same[i][j] : 0) + Number(i === j && weights[i] <= 0); // a photo that does not count is nobody's double
  const shares = same.map((row, i) => 1 / row.reduce((sum, _, j) => sum + counted(i, j), 0));
  const u = weights.map((weight, i) => weight * shares[i]);
  const total = u.reduce((sum, one) => sum + one, 0);
  const differ = Math.max(1, total ** 2 / u.reduce((sum, one, i) => sum + one ** 2 / shares[i], 0));
  const doubt = DOUBT * (1 - 1 / differ);
  const doubted = (log) => (doubt > 0 ? Math.log((1 - doubt) * Math.exp(log) + doubt / logs[0].length) : log);
  return logSoftmax(logs[0].map((_, s) => differ ** gain * logs.reduce((sum, log, i) => (u[i] > 0 ? sum + (u[i] / total) * doubted(log[s]) : sum), 0)));
}

const ranked = (p, some) => [...some].sort((a, b) => p[b] - p[a] || a - b);

// Where most of the probability lies outside a flora: the smallest that holds it, else all.
function betterThan(flora, floras, p) {
  const mass = ({ species }) => (species ? species.reduce((sum, i) => sum + p[i], 0) : 1);
  if (mass(flora) >= 0.5) return undefined;
  const size = ({ species }) => species?.length ?? p.length;
  return [...floras].sort((a, b) => size(a) - size(b)).find((one) => mass(one) >= HOLDS)?.id ?? "all";
}

function credible(p, order) {
  let sum = 0;
  const n = order.findIndex((i) => (sum += p[i]) >= CREDIBLE * (1 - 1e-9));
  return order.slice(0, n < 0 ? order.length : n + 1);
}

function speciesOf(taxon, names, language) {
  const level = (name) => ({ scientificNameWithoutAuthor: name, scientificNameAuthorship: "", scientificName: name });
  return { ...level(taxon.scientificName), genus: level(taxon.genus), family: level(taxon.family), commonNames: names[language]?.[taxon.taxonID] ?? [] };
}
