// The page: fetch the catalog, then map, legend and panel follow the state.
import { createArea } from "./area/index.js";
import { at, element } from "./dom.js";
import { lang, onLanguage, preferred, setLanguage, t } from "./i18n.js";
import { createMap } from "./map.js";
import { registerPanel } from "./panel.js";
import { getJson } from "./server.js";
import { state } from "./state.js";
import { startTheme } from "./theme.js";

state.readLink();
setLanguage(state.get().lang ?? preferred());
state.on((now, before) => now.lang !== before.lang && setLanguage(now.lang ?? preferred()));
for (const node of document.querySelectorAll("[data-lang]")) {
  node.addEventListener("click", () => state.set({ lang: node.dataset.lang }));
  const paint = () => node.setAttribute("aria-pressed", String(node.dataset.lang === lang()));
  onLanguage(paint);
  paint();
}
registerPanel({ id: "layers", title: "tab.layers", element: at("layers-panel") });
registerPanel({ id: "here", title: "tab.here", element: at("here-panel") });
registerPanel({ id: "area", title: "tab.area", element: at("area-panel") });

const map = createMap({
  onClick: (coordinate) => state.set({ place: map.lonLat(coordinate), tab: "here" }),
  onMove: () => state.set(map.state()),
  onLoading: (busy) => (at("progress").hidden = !busy),
  onFailure: ({ key, values }) => (at("alert-text").textContent = t(key, values)),
});
startTheme(map.dress);
createArea({ map, state, panel: at("area-panel") });
const catalog = await getJson("./api/layers");
map.setCatalog(catalog.bounds["EPSG:3035"], catalog.version.slice(0, 8));
map.setBasemap({ kind: "natural-earth" });
map.fitAll();
at("catalog-title").textContent = catalog.title;
for (const family of catalog.families) {
  for (const layer of family.layers) {
    const row = element("button", "", layer.title);
    row.addEventListener("click", () => state.set({ layer: layer.id }));
    at("layers-panel").append(row);
  }
}
state.on((now, before) => now.layer !== before.layer && map.show({ id: now.layer, title: now.layer }));
state.set({ layer: state.get().layer ?? catalog.families[0].layers[0].id });
