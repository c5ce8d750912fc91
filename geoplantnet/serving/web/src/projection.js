// EPSG:3035 (ETRS89-LAEA Europe) for OpenLayers. Of proj4 only the one projection is bundled.
import { addCoordinateTransforms, addProjection, fromLonLat, toLonLat } from "ol/proj.js";
import Projection from "ol/proj/Projection.js";
import proj4 from "proj4/lib/core.js";
import Proj from "proj4/lib/Proj.js";
import laea from "proj4/lib/projections/laea.js";
import { EUROPE } from "./extent.js";

export const CRS = "EPSG:3035";

const ETRS89 = "+proj=longlat +ellps=GRS80 +towgs84=0,0,0,0,0,0,0 +no_defs";
// WMS 1.3.0 gives EPSG:3035 as northing, easting: +axis=neu says so, and axisOrientation makes OpenLayers write BBOX
// that way. Coordinates inside the page stay easting, northing.
const LAEA = "+proj=laea +lat_0=52 +lon_0=10 +x_0=4321000 +y_0=3210000 +ellps=GRS80 +towgs84=0,0,0,0,0,0,0 +units=m +no_defs +axis=neu";

Proj.projections.add(laea);
const { forward, inverse } = proj4(ETRS89, LAEA);
addProjection(new Projection({ code: CRS, units: "m", axisOrientation: "neu", extent: EUROPE, worldExtent: [-35, 24, 65, 72] }));
addCoordinateTransforms("EPSG:4326", CRS, (coordinate) => forward(coordinate), (coordinate) => inverse(coordinate));
// Web Mercator, for the tiles of an operator's own basemap.
addCoordinateTransforms(
  "EPSG:3857",
  CRS,
  (coordinate) => forward(toLonLat(coordinate)),
  (coordinate) => fromLonLat(inverse(coordinate)),
);
