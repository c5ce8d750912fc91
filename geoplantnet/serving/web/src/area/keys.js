// Keys while something is drawn or edited: the map's own arrows go on moving it, what is handled here goes no further.

const FINE = 8; // px a step with Shift: OpenLayers moves 128

// actions: {" ": f, Enter: f, Escape: f, undo: f, redo: f, ...letters}. -> a function that takes the keys away again
export function takeKeys(map, actions) {
  const target = map.ol.getTargetElement();
  const onMap = (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (step && event.shiftKey) {
      const size = FINE * map.view.getResolution();
      const [x, y] = map.view.getCenter();
      map.view.setCenter([x + step[0] * size, y + step[1] * size]);
      return done(event);
    }
    const modified = event.ctrlKey || event.metaKey || event.altKey;
    const action = modified ? null : actions[event.key] ?? (event.key.length === 1 ? actions[event.key.toLowerCase()] : null);
    if (action) {
      action();
      done(event);
    }
  };
  // Escape and undo hold wherever the focus is, but for a field that has its own undo
  const anywhere = (event) => {
    const writes = event.target.closest?.("input:not([type=checkbox]):not([type=range]), textarea, select, dialog");
    const control = event.ctrlKey || event.metaKey;
    const key = event.key.toLowerCase();
    if (event.key === "Escape" && !event.target.closest?.("dialog")) {
      actions.Escape();
      done(event);
    } else if (!writes && control && (key === "y" || (key === "z" && event.shiftKey))) {
      actions.redo();
      done(event);
    } else if (!writes && control && key === "z") {
      actions.undo();
      done(event);
    }
  };
  target.addEventListener("keydown", onMap, { capture: true });
  document.addEventListener("keydown", anywhere, { capture: true });
  return () => {
    target.removeEventListener("keydown", onMap, { capture: true });
    document.removeEventListener("keydown", anywhere, { capture: true });
  };
}

function done(event) {
  event.preventDefault();
  event.stopImmediatePropagation();
}
