// A small map to say where a plant grows: the store's area, the countries' outlines, a mark. Typed coordinates do the same.
import { button, element } from "../dom.js";
import { t } from "../i18n.js";
import { siteJson } from "./api.js";
import { loading } from "./parts.js";

const WIDTH = 640;
const HEIGHT = 480;
const STEP = 12; // pixels of an arrow key

// at: {longitude, latitude} or null; onPlace(place)
export function createMiniMap({ at, onPlace, signal }) {
  const box = element("div", "minimap");
  loading(box, {
    signal,
    load: async () => {
      const [layers, countries] = await Promise.all([siteJson("api/layers", { signal }), siteJson("countries.json", { signal })]);
      return { bounds: layers.bounds["CRS:84"], countries };
    },
    draw: ({ bounds, countries }) => box.append(...mapOf(bounds, countries, at, onPlace)),
  });
  return box;
}

function mapOf(bounds, countries, at, onPlace) {
  const canvas = element("canvas");
  Object.assign(canvas, { width: WIDTH, height: HEIGHT, tabIndex: 0 });
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", t("minimap.label"));
  const [west, south, east, north] = bounds;
  // A plate carrée whose degrees of longitude are as long as they are in the middle of the area.
  const squeeze = Math.cos(((south + north) / 2) * (Math.PI / 180));
  const whole = Math.min((WIDTH / ((east - west) * squeeze)) * 0.9, (HEIGHT / (north - south)) * 0.9);
  const view = { longitude: at?.longitude ?? (west + east) / 2, latitude: at?.latitude ?? (south + north) / 2, scale: whole };
  const toPixels = (longitude, latitude) => [WIDTH / 2 + (longitude - view.longitude) * squeeze * view.scale, HEIGHT / 2 - (latitude - view.latitude) * view.scale];
  const toDegrees = (x, y) => ({ longitude: view.longitude + (x - WIDTH / 2) / (squeeze * view.scale), latitude: view.latitude - (y - HEIGHT / 2) / view.scale });
  let mark = at;

  canvas.addEventListener("click", (event) => {
    const frame = canvas.getBoundingClientRect();
    put(toDegrees(((event.clientX - frame.left) * WIDTH) / frame.width, ((event.clientY - frame.top) * HEIGHT) / frame.height));
  });
  canvas.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
    if (!move && !["+", "-"].includes(event.key)) return;
    event.preventDefault();
    if (!move) return zoom(event.key === "+" ? 2 : 0.5);
    const [x, y] = mark ? toPixels(mark.longitude, mark.latitude) : [WIDTH / 2, HEIGHT / 2];
    put(toDegrees(x + move[0], y + move[1]));
  });
  const zooms = element("div", "row", ...[["+", 2, "minimap.in"], ["−", 0.5, "minimap.out"]].map(([words, factor, key]) => {
    const node = button("icon", words, () => zoom(factor));
    node.setAttribute("aria-label", t(key));
    return node;
  }));
  draw();
  return [canvas, zooms, element("p", "faint small", t("minimap.help"))];

  function put(place) {
    if (Math.abs(place.latitude) > 90 || Math.abs(place.longitude) > 180) return;
    mark = place;
    draw();
    onPlace(place);
  }

  function zoom(factor) {
    view.scale = Math.min(Math.max(view.scale * factor, whole / 2), whole * 256);
    if (mark) Object.assign(view, mark, { scale: view.scale });
    draw();
  }

  function draw() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const context = canvas.getContext("2d");
    context.fillStyle = colour("map-sea");
    context.fillRect(0, 0, WIDTH, HEIGHT);
    context.beginPath();
    for (const polygon of countries.land) for (const ring of polygon) trace(context, ring);
    context.fillStyle = colour("map-land");
    context.fill("evenodd");
    context.strokeStyle = colour("map-coast");
    context.stroke();
    context.beginPath();
    for (const line of countries.borders) trace(context, line);
    context.strokeStyle = colour("map-border");
    context.stroke();
    const [[left, top], [right, bottom]] = [toPixels(west, north), toPixels(east, south)];
    context.strokeStyle = colour("leaf");
    context.setLineDash([6, 4]);
    context.strokeRect(left, top, right - left, bottom - top);
    context.setLineDash([]);
    if (!mark) return;
    const [x, y] = toPixels(mark.longitude, mark.latitude);
    context.beginPath();
    context.arc(x, y, 9, 0, 2 * Math.PI);
    context.fillStyle = colour("leaf");
    context.fill();
    context.lineWidth = 3;
    context.strokeStyle = colour("paper");
    context.stroke();
    context.lineWidth = 1;
  }

  // A line as build.mjs packs it: the first vertex, then the way to each next one, in `unit` degrees.
  function trace(context, steps) {
    let [x, y] = [0, 0];
    for (let i = 0; i < steps.length; i += 2) {
      x += steps[i];
      y += steps[i + 1];
      const [left, top] = toPixels(x * countries.unit, y * countries.unit);
      if (i) context.lineTo(left, top);
      else context.moveTo(left, top);
    }
  }
}
