// What the server offers: the layers listed by /api/layers, those of species one by one.
import { lang, t } from "./i18n.js";
import { getJson } from "./server.js";

export const RELIEF = "relief"; // id of the hillshade layer, drawn under the active layer where the catalog holds one
export const APPLICABILITY = "applicability"; // id of the layer that says where the model extrapolates
export const SPECIES = "Species"; // the family whose titles are scientific names
const SPECIES_PREFIX = "species.";
const ORDER = [SPECIES, "Habitat", "Conservation", "Ecosystem", "Threat"];

export const isSpecies = (layer) => layer.id.startsWith(SPECIES_PREFIX);
export const speciesLayer = (taxonID) => `${SPECIES_PREFIX}${taxonID}`;
export const taxonOf = (id) => (id?.startsWith(SPECIES_PREFIX) ? id.slice(SPECIES_PREFIX.length) : null);

export class Catalog {
  constructor(answer) {
    Object.assign(this, answer);
    const rank = ({ name }) => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length);
    this.families = answer.families.filter((family) => family.layers.length).sort((a, b) => rank(a) - rank(b));
    this.listed = new Map(this.families.flatMap((family) => family.layers.map((layer) => [layer.id, layer])));
    this.epochs = answer.epochs ?? [];
    this.fetched = new Map(this.listed);
  }

  // The layer by its id, fetched where it is a species; rejects with ServerError (status 404: not in the catalog).
  layer(id, { signal } = {}) {
    const known = this.fetched.get(id);
    if (known) return Promise.resolve(known);
    return getJson(`./api/layers/${encodeURIComponent(id)}`, { signal }).then((layer) => {
      this.fetched.set(id, layer);
      return layer;
    });
  }

  // The layer if it has been fetched.
  known(id) {
    return this.fetched.get(id) ?? null;
  }

  // An indicator of the whole community says more about a place than the first species of a list.
  get first() {
    const family = this.families.find(({ name }) => name === "Ecosystem") ?? this.families[0];
    return family?.layers[0] ?? null;
  }

  // Epochs that show a layer; all of them where the server does not say.
  epochsOf(layer) {
    return layer.epochs ? this.epochs.filter(({ name }) => layer.epochs.includes(name)) : this.epochs;
  }

  // Title and notice in the reader's language, as far as the publisher gave them.
  get words() {
    const french = (lang() === "fr" && this.fr) || {};
    return { title: french.title || this.title, notice: french.notice || this.notice };
  }

  // "Today", or the title of a scenario or model without the catalog's own before it.
  epochTitle(name) {
    const today = this.epochs[0];
    const epoch = this.epochs.find((one) => one.name === name) ?? today;
    if (!epoch || epoch === today) return t("legend.scenario.today");
    const [title, own] = lang() === "fr" && epoch.title_fr && this.fr?.title ? [epoch.title_fr, this.fr.title] : [epoch.title, this.title];
    const rest = title.startsWith(own) ? title.slice(own.length).replace(/^[\s:,;–—-]+/, "") : title;
    const words = rest || epoch.name;
    return words[0].toUpperCase() + words.slice(1);
  }
}

export async function fetchCatalog() {
  return new Catalog(await getJson("./api/layers"));
}
