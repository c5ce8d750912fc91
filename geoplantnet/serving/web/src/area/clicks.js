// Who takes clicks on the map: whoever draws, and the page again once the last click can no longer become the first half of
// a double one, which OpenLayers tells a quarter of a second later.
import Interaction from "ol/interaction/Interaction.js";

const LATER_MS = 350;
const guard = new Interaction({ handleEvent: ({ type }) => type !== "dblclick" });
let waiting = 0;

export function takeClicks(map) {
  clearTimeout(waiting);
  map.ol.removeInteraction(guard);
  map.ol.addInteraction(guard);
  map.mode("draw");
}

export function leaveClicks(map) {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    map.ol.removeInteraction(guard);
    map.mode("read");
  }, LATER_MS);
}
