// Editing a polygon: vertices are dragged with the pointer, or chosen and moved to the cross-hair by keyboard.
import Collection from "ol/Collection.js";
import Modify from "ol/interaction/Modify.js";
import Snap from "ol/interaction/Snap.js";
import { Circle, Fill, Stroke, Style } from "ol/style.js";
import { leaveClicks, takeClicks } from "./clicks.js";
import { createHistory } from "./history.js";
import { takeKeys } from "./keys.js";
import { cellsOf, faultOf, fromMap, km2Of, toMap } from "./shape.js";

const HIT_PX = 14; // around a vertex or an edge: targets of 28 px
const handle = new Style({ image: new Circle({ radius: 9, fill: new Fill({ color: "#ffd84d" }), stroke: new Stroke({ color: "#10231a", width: 2.5 }) }) });

// onChange(told), onDone(geometry | null), onRefused(fault) as in draw.js
export function startEditing({ map, layer, geometry, onChange, onDone, onRefused }) {
  const history = createHistory(toMap(geometry, map));
  let selected = null; // [polygon, ring, vertex]
  let interactions = [];

  const vertices = (polygons) => polygons.flatMap((rings, p) => rings.flatMap((ring, r) => ring.slice(0, -1).map((_, i) => [p, r, i])));
  const at = (polygons, [p, r, i]) => polygons[p][r][i];
  const told = () => {
    const polygons = history.value;
    const km2 = km2Of(polygons);
    const all = vertices(polygons);
    const number = selected ? all.findIndex((one) => one.join() === selected.join()) + 1 : 0;
    const fault = faultOf(fromMap(polygons, map), map);
    const small = selected && polygons[selected[0]][selected[1]].length < 5;
    return { count: all.length, number, small, km2, cells: cellsOf(km2), fault, canUndo: history.canUndo, canRedo: history.canRedo };
  };
  const show = () => {
    const polygons = history.value;
    const now = told();
    for (const one of interactions) map.ol.removeInteraction(one);
    const feature = layer.sketch({ polygons, faults: now.fault?.edges ?? [], selected: selected && at(polygons, selected) });
    const modify = new Modify({ features: new Collection([feature]), pixelTolerance: HIT_PX, style: handle });
    modify.on("modifyend", () => {
      history.push(feature.getGeometry().getCoordinates());
      selected = null;
      changed();
    });
    interactions = [modify, new Snap({ features: new Collection([feature]), pixelTolerance: 8 })];
    for (const one of interactions) map.ol.addInteraction(one);
    return now;
  };
  const changed = () => onChange(show());

  function choose(step) {
    const polygons = history.value;
    const all = vertices(polygons);
    const from = selected ? all.findIndex((one) => one.join() === selected.join()) : step > 0 ? -1 : 0;
    selected = all[(from + step + all.length) % all.length];
    map.view.setCenter(at(polygons, selected));
    changed();
  }

  // change(ring without its closing vertex, index) -> the new one
  function alter(change, keep = () => selected) {
    const polygons = history.value;
    if (!selected) return onRefused({ kind: "none-chosen" });
    const [p, r, i] = selected;
    const open = change(polygons[p][r].slice(0, -1), i);
    if (open.length < 3) return onRefused({ kind: "too-few" });
    const ring = [...open, open[0]];
    const next = polygons.map((rings, q) => (q === p ? rings.map((one, s) => (s === r ? ring : one)) : rings));
    history.push(next);
    selected = keep(selected, open);
    return changed();
  }

  function finish() {
    const { fault } = told();
    if (fault) return onRefused(fault);
    return end(fromMap(history.value, map));
  }

  function end(result) {
    freeKeys();
    for (const one of interactions) map.ol.removeInteraction(one);
    layer.clear();
    leaveClicks(map);
    onDone(result);
  }

  const centre = () => map.view.getCenter();
  const step = (move) => () => {
    history[move]();
    selected = null;
    changed();
  };
  takeClicks(map);
  const session = {
    next: () => choose(1),
    previous: () => choose(-1),
    move: () => alter((open, i) => open.map((point, j) => (j === i ? centre() : point))),
    insert: () =>
      alter(
        (open, i) => [...open.slice(0, i + 1), centre(), ...open.slice(i + 1)],
        ([p, r, i]) => [p, r, i + 1],
      ),
    remove: () =>
      alter(
        (open, i) => open.filter((_, j) => j !== i),
        ([p, r, i], open) => [p, r, Math.min(i, open.length - 1)],
      ),
    finish,
    undo: step("undo"),
    redo: step("redo"),
    cancel: () => end(null),
    refresh: () => onChange(told()),
  };
  const freeKeys = takeKeys(map, {
    n: session.next,
    p: session.previous,
    m: session.move,
    i: session.insert,
    Delete: session.remove,
    Enter: finish,
    Backspace: session.undo,
    Escape: session.cancel,
    undo: session.undo,
    redo: session.redo,
  });
  changed();
  return session;
}
