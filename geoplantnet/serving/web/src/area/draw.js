// Drawing, by pointer and by keyboard alike: both place vertices in one list, which has one undo. (OpenLayers' Draw keeps
// its vertices to itself: none could be placed at the cross-hair, nor an edge be refused.)
import Interaction from "ol/interaction/Interaction.js";
import Snap from "ol/interaction/Snap.js";
import { leaveClicks, takeClicks } from "./clicks.js";
import { crossingOfPath } from "./geometry.js";
import { createHistory } from "./history.js";
import { takeKeys } from "./keys.js";
import { cellsOf, faultOf, fromMap, km2Of, toMap } from "./shape.js";

const CLOSE_PX = 12; // a click so near the first vertex closes the polygon: 24 px across
const AGAIN_PX = 6; // one so near the last is the second half of a double click

// kind: "polygon" | "rectangle" | "hole" (of `around`, a geometry). onChange(told) after each change,
// onDone(geometry | null) at its end, null where it was cancelled; onRefused(fault) where it cannot be closed.
export function startDrawing({ map, layer, kind, around = null, onChange, onDone, onRefused }) {
  const history = createHistory([]);
  let tip = null;
  let refused = null;
  const centre = () => map.view.getCenter();
  const pixels = (from, to) => Math.hypot(from[0] - to[0], from[1] - to[1]) / map.view.getResolution();

  const corners = (points) => {
    if (kind !== "rectangle" || points.length < 2) return points;
    const [[west, south], [east, north]] = points;
    return [[west, south], [east, south], [east, north], [west, north]];
  };
  const told = () => {
    const points = history.value;
    const outline = corners(tip && points.length && (kind !== "rectangle" || points.length < 2) ? [...points, tip] : points);
    const km2 = outline.length > 2 ? km2Of([[[...outline, outline[0]]]]) : 0;
    const crossing = kind === "rectangle" ? null : crossingOfPath(points);
    const fault = crossing ? { kind: "crossing", edges: crossing } : refused;
    const least = kind === "rectangle" ? 2 : 3;
    return { points, km2, cells: cellsOf(km2), fault, missing: Math.max(least - points.length, 0), canUndo: history.canUndo, canRedo: history.canRedo };
  };
  const show = () => {
    const now = told();
    const { points } = now;
    if (kind === "rectangle" && points.length && tip) {
      const [a, b, c, d] = corners([points[0], points[1] ?? tip]);
      layer.sketch({ points: [a, b, c, d, a] });
    } else layer.sketch({ points, tip, faults: now.fault?.edges ?? [] });
    return now;
  };
  const changed = () => {
    refused = null;
    onChange(show());
  };

  function place(coordinate) {
    const points = history.value;
    if (points.length && pixels(points.at(-1), coordinate) < AGAIN_PX) return points.length > 2 ? finish() : undefined;
    if (kind !== "rectangle" && points.length > 2 && pixels(points[0], coordinate) < CLOSE_PX) return finish();
    history.push([...points, [...coordinate]]);
    tip = coordinate;
    if (kind === "rectangle" && history.value.length === 2) return finish();
    return changed();
  }

  function finish() {
    const { points, missing } = told();
    if (missing) return onRefused({ kind: "missing", missing });
    const outline = corners(points);
    const ring = [...outline, outline[0]];
    const geometry = around ? pierced(ring) : fromMap([[ring]], map);
    const fault = faultOf(geometry, map);
    if (fault) {
      if (kind === "rectangle") history.undo(); // a second corner that leaves no area is no corner
      refused = fault;
      onChange(show());
      return onRefused(fault);
    }
    return end(geometry);
  }

  // Into which of the polygons the hole goes: the first where it makes a valid whole.
  function pierced(ring) {
    const polygons = toMap(around, map);
    const whole = (p) => fromMap(polygons.map((rings, i) => (i === p ? [...rings, ring] : rings)), map);
    const fits = polygons.findIndex((_, p) => !faultOf(whole(p), map));
    return whole(Math.max(fits, 0));
  }

  function end(geometry) {
    freeKeys();
    for (const one of interactions) map.ol.removeInteraction(one);
    map.view.un("change:center", follow);
    layer.clear();
    leaveClicks(map);
    onDone(geometry);
  }

  const step = (move) => () => {
    history[move]();
    changed();
  };
  const follow = () => {
    tip = centre();
    onChange(show());
  };
  const pointer = new Interaction({
    handleEvent: ({ type, coordinate, dragging, originalEvent }) => {
      if (type === "pointermove" && !dragging && originalEvent.pointerType === "mouse") {
        tip = coordinate;
        onChange(show());
      }
      if (type === "click") place(coordinate);
      return type !== "click";
    },
  });
  const interactions = [pointer, new Snap({ source: layer.source, pixelTolerance: 10 })];
  for (const one of interactions) map.ol.addInteraction(one);
  map.view.on("change:center", follow);
  takeClicks(map);
  const session = { place: () => place(centre()), finish, undo: step("undo"), redo: step("redo"), cancel: () => end(null), refresh: () => onChange(show()) };
  const freeKeys = takeKeys(map, {
    " ": session.place,
    Enter: finish,
    Backspace: session.undo,
    Escape: session.cancel,
    undo: session.undo,
    redo: session.redo,
  });
  changed();
  return session;
}
