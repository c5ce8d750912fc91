// Numbers, units and places in words.

// A value as people read it: a class by its name, a number with about three significant digits of the layer's range.
export function valueText(value, layer) {
  if (value === null) return "no data";
  if (layer.classes.length) return layer.classes.find((entry) => entry.value === value)?.label ?? `class ${value}, not in the legend`;
  const span = layer.range[1] - layer.range[0];
  const decimals = Math.min(Math.max(2 - Math.floor(Math.log10(span) + 1e-9), 0), 6);
  return value.toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals }).replace("-", "−");
}

// What follows a number: nothing for a proportion or a class.
export function unitSymbol(layer) {
  return layer.unit === "1" || layer.classes.length ? "" : layer.unit;
}

// The unit as the legend states it.
export function unitText(layer) {
  if (layer.classes.length) return "Classes";
  if (layer.unit && layer.unit !== "1") return `Unit: ${layer.unit}`;
  const [low, high] = layer.range;
  return low === 0 && high <= 1 ? "From 0 to 1, no unit" : "No unit";
}

// [longitude, latitude] in degrees -> "46.4812° N, 8.0123° E" (four decimals: about 10 m).
export function placeText([longitude, latitude]) {
  const part = (degrees, positive, negative) => `${Math.abs(degrees).toFixed(4)}° ${degrees < 0 ? negative : positive}`;
  return `${part(latitude, "N", "S")}, ${part(longitude, "E", "W")}`;
}
