// The Area tab: draw or choose an area and ask what grows in it.
import { translate } from "../i18n.js";

// panel: the empty element of the tab.
export function createArea({ map, state, panel }) {
  const title = document.createElement("h2");
  title.dataset.t = "area.title";
  panel.append(title);
  translate(panel);
}
