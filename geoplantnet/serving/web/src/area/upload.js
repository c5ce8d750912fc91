// A polygon from a file: read by the server, chosen here.
import { announce } from "../announce.js";
import { element } from "../dom.js";
import { number, t } from "../i18n.js";
import { ServerError, ask } from "../server.js";
import { polygonsOf, rounded } from "./code.js";
import { words } from "./command.js";
import { faultOf, km2Of, toMap } from "./shape.js";
import { digits } from "./result.js";

const MOST_BYTES = 1_000_000;
const ENDINGS = ".geojson,.json,.gpkg,.kml,.kmz,.zip";

// onChosen(geometry, name)
export function createUpload({ map, onChosen }) {
  let answer = null;
  let failure = null;
  let controller = new AbortController();
  const id = "area-file";
  const input = Object.assign(element("input"), { type: "file", id, accept: ENDINGS });
  const label = words("label", "", () => t("area.upload.file"));
  label.node.htmlFor = id;
  const limits = words("p", "area-hint", () => t("area.upload.limits"));
  limits.node.id = "area-file-limits";
  input.setAttribute("aria-describedby", limits.node.id);
  const status = element("p", "area-status");
  const choice = element("div", "area-choice");
  const zone = element("div", "area-drop", label.node, input, limits.node);
  const node = element("section", "area-section area-upload", zone, status, choice);
  node.hidden = true;
  input.addEventListener("change", () => input.files[0] && send(input.files[0]));
  for (const target of [zone, map.ol.getTargetElement()]) {
    target.addEventListener("dragover", (event) => {
      event.preventDefault();
      zone.classList.add("over");
    });
    target.addEventListener("dragleave", () => zone.classList.remove("over"));
    target.addEventListener("drop", (event) => {
      event.preventDefault();
      zone.classList.remove("over");
      const [file] = event.dataTransfer.files;
      if (file) {
        node.dispatchEvent(new CustomEvent("dropped"));
        send(file);
      }
    });
  }

  async function send(file) {
    controller.abort();
    controller = new AbortController();
    const { signal } = controller;
    answer = null;
    failure = null;
    choice.replaceChildren();
    status.classList.remove("failed");
    if (file.size > MOST_BYTES) return fail(() => t("area.upload.large", { mb: file.size / 1e6 }));
    status.textContent = t("area.upload.reading", { file: file.name });
    try {
      const headers = { Accept: "application/json", "Content-Type": "application/octet-stream" };
      const response = await ask(`./api/upload?name=${encodeURIComponent(file.name)}`, { method: "POST", headers, body: file }, { signal });
      answer = await response.json();
    } catch (error) {
      if (signal.aborted) return undefined;
      if (!(error instanceof ServerError)) throw error;
      return fail(() => error.message);
    } finally {
      input.value = "";
    }
    const usable = answer.features.features;
    if (!usable.length) return fail(() => `${t("area.upload.none")} ${droppedText()}`.trim());
    if (usable.length === 1 && !answer.dropped?.length) return choose(usable[0].geometry, nameOf(usable[0], 0) ?? answer.name);
    draw();
    announce(status.textContent);
    choice.querySelector("button")?.focus();
    return undefined;
  }

  function fail(make) {
    failure = make;
    status.textContent = make();
    status.classList.add("failed");
    announce(status.textContent);
  }

  function droppedText() {
    return (answer?.dropped ?? []).map(({ reason, count }) => t("area.upload.dropped", { n: count, reason })).join(" ");
  }

  function draw() {
    status.classList.toggle("failed", Boolean(failure));
    if (failure) status.textContent = failure();
    if (failure || !answer) return;
    const { features } = answer.features;
    status.textContent = `${t("area.upload.found", { n: features.length })} ${droppedText()}`.trim();
    const rows = features.map((feature, i) => {
      const km2 = km2Of(toMap(feature.geometry, map));
      const name = nameOf(feature, i) ?? t("area.upload.nth", { n: String(i + 1) });
      return [name, km2, () => choose(feature.geometry, name)];
    });
    const whole = features.length > 1 ? together(answer) : null;
    const all = whole && [[t("area.upload.all", { n: features.length }), km2Of(toMap(whole, map)), () => choose(whole, answer.name)]];
    const overlap = features.length > 1 && !whole ? element("p", "area-hint", t("area.upload.overlap")) : null;
    choice.replaceChildren(...[overlap, choices([...(all ?? []), ...rows])].filter(Boolean));
  }

  // All of them as one: the server's union, or, where they do not touch, side by side.
  function together({ features, union }) {
    const one = union ?? { type: "MultiPolygon", coordinates: features.features.flatMap(({ geometry }) => polygonsOf(geometry)) };
    const whole = rounded(one);
    return whole && !faultOf(whole, map) ? whole : null;
  }

  function choose(geometry, name) {
    const whole = rounded(geometry);
    const fault = faultOf(whole, map);
    if (fault) return fail(() => t(`area.fault.${fault.kind}`));
    status.textContent = "";
    choice.replaceChildren();
    answer = null;
    return onChosen(whole, name);
  }

  return { node, input, draw, forget: () => controller.abort() };
}

// What a file calls a polygon: a property that is named so, or the first text.
function nameOf(feature) {
  const properties = Object.entries(feature.properties ?? {});
  const named = properties.find(([key, value]) => /^(name|nom|title|label|libelle|id)$/i.test(key) && value !== null && value !== "");
  const text = named ?? properties.find(([, value]) => typeof value === "string" && value.trim());
  return text ? String(text[1]).slice(0, 120) : null;
}

// A list of buttons: [[name, km2, onClick], ...]
export function choices(rows) {
  const items = rows.map(([name, km2, onClick]) => {
    const size = km2 === null ? "" : element("span", "size", t("area.km2", { value: number(km2, digits(km2)) }));
    const button = element("button", "area-pick", element("span", "", name), size);
    button.type = "button";
    button.addEventListener("click", onClick);
    return element("li", "", button);
  });
  return element("ul", "area-picks", ...items);
}
