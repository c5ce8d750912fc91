// The layers by family, and the search that narrows them as you type.
import { element, gradient } from "./legend.js";

const SPECIES = "Species"; // the family whose titles are scientific names

const at = (id) => document.getElementById(id);

// Draw the families into #tree and call choose(id) when a layer is chosen. -> {select(id)}
export function createTree(families, choose) {
  const rows = families.flatMap((family) => family.layers.map((layer) => row(layer)));
  const groups = families.map((family) => {
    const group = element("details", "family");
    const summary = element("summary", "", family.name);
    const count = element("span", "count", String(family.layers.length));
    summary.append(count);
    const list = element("div", "list");
    const own = rows.filter(({ layer }) => layer.family === family.name);
    list.append(...own.map(({ node }) => node));
    group.append(summary, list);
    group.open = family.name !== SPECIES; // hundreds of names: found by the search, or opened on purpose
    return { node: group, rows: own, count, open: group.open };
  });
  at("tree").replaceChildren(...groups.map(({ node }) => node));
  at("tree").addEventListener("change", (event) => choose(event.target.value));
  at("tree").addEventListener("submit", (event) => event.preventDefault());
  for (const group of groups) {
    group.node.addEventListener("toggle", () => {
      if (!at("search").value) group.open = group.node.open;
    });
  }

  const search = at("search");
  search.addEventListener("input", filter);
  search.addEventListener("keydown", (event) => {
    const first = rows.find(({ node }) => search.value && !node.hidden) ?? rows.find(({ input }) => input.checked);
    if (event.key === "Escape" && search.value) {
      event.preventDefault();
      search.value = "";
      filter();
    } else if (event.key === "Enter" && search.value && first) {
      event.preventDefault();
      pick(first);
    } else if (event.key === "ArrowDown" && first) {
      event.preventDefault();
      pick(first);
      first.input.focus();
    }
  });

  function pick({ input, layer }) {
    if (input.checked) return;
    input.checked = true;
    choose(layer.id);
  }

  function filter() {
    const tokens = fold(search.value).split(/\s+/).filter(Boolean);
    let found = 0;
    for (const { node, words } of rows) {
      node.hidden = !tokens.every((token) => matches(words, token));
      found += node.hidden ? 0 : 1;
    }
    for (const group of groups) {
      const shown = group.rows.filter(({ node }) => !node.hidden).length;
      group.node.hidden = shown === 0;
      group.node.open = tokens.length ? shown > 0 : group.open;
      group.count.textContent = tokens.length ? `${shown} of ${group.rows.length}` : String(group.rows.length);
    }
    at("search-status").textContent = tokens.length ? report(found, rows.length, search.value.trim()) : "";
  }

  return {
    select(id) {
      for (const { input, node } of rows) {
        input.checked = input.value === id;
        node.classList.toggle("active", input.checked);
        if (!input.checked) continue;
        const group = groups.find((candidate) => candidate.rows.some((own) => own.input === input));
        group.node.open = true;
        if (!node.matches(":focus-within")) node.scrollIntoView({ block: "nearest" });
      }
    },
  };
}

function row(layer) {
  const node = element("label", "row");
  const input = element("input");
  input.type = "radio";
  input.name = "layer";
  input.value = layer.id;
  const title = element("span", layer.family === SPECIES ? "taxon" : "", layer.title);
  node.append(input, title);
  if (layer.family !== SPECIES) {
    const swatch = element("span", "chip");
    swatch.style.background = gradient(layer);
    node.append(swatch);
  }
  return { layer, node, input, words: fold(`${layer.title} ${layer.id}`).split(/[^\p{L}\p{N}]+/u) };
}

// "ab al" finds Abies alba: each token begins a word, or stands inside one from three letters on.
function matches(words, token) {
  return words.some((word) => word.startsWith(token) || (token.length > 2 && word.includes(token)));
}

function fold(text) {
  return text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
}

function report(found, total, query) {
  if (found === 0) return `Nothing is called “${query}”. Check the spelling, or press Escape to see all ${total}.`;
  return `${found} of ${total} ${found === 1 ? "matches" : "match"}`;
}
