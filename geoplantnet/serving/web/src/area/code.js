// Polygons as text for the address.

export function encode(geometry) {
  return btoa(JSON.stringify(geometry)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

export function decode(text) {
  const geometry = JSON.parse(atob(text.replace(/-/g, "+").replace(/_/g, "/")));
  if (!["Polygon", "MultiPolygon"].includes(geometry?.type)) throw new Error("no polygon");
  return geometry;
}
