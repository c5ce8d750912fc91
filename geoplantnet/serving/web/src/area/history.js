// Undo and redo of values that are never changed in place.

const MOST = 200; // steps that are kept

export function createHistory(first) {
  let values = [first];
  let at = 0;
  return {
    get value() {
      return values[at];
    },
    get canUndo() {
      return at > 0;
    },
    get canRedo() {
      return at < values.length - 1;
    },
    push(value) {
      values = [...values.slice(Math.max(at + 2 - MOST, 0), at + 1), value];
      at = values.length - 1;
      return value;
    },
    undo() {
      at = Math.max(at - 1, 0);
      return values[at];
    },
    redo() {
      at = Math.min(at + 1, values.length - 1);
      return values[at];
    },
  };
}
