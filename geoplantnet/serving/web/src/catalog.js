// What the server offers, read once: /api/layers, and /wms GetFeatureInfo for one place.

const PATIENCE = 20_000; // milliseconds before a silent server is called silent

// The request that failed, in words for a person.
export class ServerError extends Error {}

// -> {title, notice, version, bounds, families: [{name, layers}], layers: Map id -> layer}
export async function fetchCatalog() {
  const catalog = await json("./api/layers");
  const families = catalog.families.filter((family) => family.layers.length);
  const layers = new Map(families.flatMap((family) => family.layers.map((layer) => [layer.id, layer])));
  return { ...catalog, families, layers };
}

// Values at one place, from one or more GetFeatureInfo -> Map layer id -> number | null (null: no data).
export async function fetchValues(urls, signal) {
  const answers = await Promise.all(urls.map((url) => json(url, signal)));
  return new Map(answers.flatMap(({ features }) => features.map(({ properties }) => [properties.layer, properties.value])));
}

async function json(url, signal) {
  const abort = new AbortController();
  const silence = setTimeout(() => abort.abort(), PATIENCE);
  signal?.addEventListener("abort", () => abort.abort());
  let response;
  try {
    response = await fetch(url, { signal: abort.signal, headers: { Accept: "application/json" } });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ServerError("The map server does not answer. It may be stopped, or the network is down.");
  } finally {
    clearTimeout(silence);
  }
  if (!response.ok) throw new ServerError(`The map server answered with an error (HTTP ${response.status}).`);
  try {
    return await response.json();
  } catch {
    throw new ServerError("The map server answered with something that is no JSON; another service may stand at this address.");
  }
}
