// What lies below the data when the operator names tiles of their own.
import TileLayer from "ol/layer/Tile.js";
import XYZ from "ol/source/XYZ.js";

// basemap: {kind: "xyz", url: "https://.../{z}/{x}/{y}.png", attribution}; Web Mercator, warped by OpenLayers.
export function basemapLayer({ url, attribution }) {
  return new TileLayer({ className: "basemap", source: new XYZ({ url, attributions: attribution }) });
}
