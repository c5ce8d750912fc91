// The page's state in the address: #layer=shannon&at=46.4812,8.0123&zoom=6.5&opacity=75

// -> {layer?, at?: [lon, lat], zoom?, opacity?}; what is missing or makes no sense is left out.
export function readLink(hash) {
  const fields = new URLSearchParams(hash.replace(/^#/, ""));
  const state = {};
  if (fields.get("layer")) state.layer = fields.get("layer");
  const [lat, lon] = (fields.get("at") ?? "").split(",").map(Number.parseFloat);
  if (Math.abs(lat) <= 90 && Math.abs(lon) <= 180) state.at = [lon, lat];
  const zoom = Number.parseFloat(fields.get("zoom"));
  if (zoom >= 0 && zoom <= 30) state.zoom = zoom;
  const opacity = Number.parseFloat(fields.get("opacity"));
  if (opacity >= 0 && opacity <= 100) state.opacity = opacity;
  return state;
}

export function writeLink({ layer, at, zoom, opacity }) {
  const parts = [`layer=${encodeURIComponent(layer)}`];
  if (at) parts.push(`at=${at[1].toFixed(4)},${at[0].toFixed(4)}`);
  if (zoom !== undefined) parts.push(`zoom=${+zoom.toFixed(2)}`);
  parts.push(`opacity=${opacity}`);
  return `#${parts.join("&")}`;
}
