// The Area tab: draw, upload or choose an area, ask what grows in it, compare it, take the answer away.
import { announce } from "../announce.js";
import { fetchCatalog, speciesLayer } from "../catalog.js";
import { element } from "../dom.js";
import { lang, number, onLanguage, percent, t } from "../i18n.js";
import { showPanel } from "../panel.js";
import { ServerError } from "../server.js";
import { encode, rounded, vertexCount } from "./code.js";
import { command, words } from "./command.js";
import { fromText, toText } from "./coordinates.js";
import { createDocuments, saveBlob } from "./documents.js";
import { startDrawing } from "./draw.js";
import { startEditing } from "./edit.js";
import { boundsOf } from "./geometry.js";
import { createHistory } from "./history.js";
import { createAreaLayer } from "./layer.js";
import { createPlaces } from "./places.js";
import { createComparison, createResult, digits } from "./result.js";
import { report } from "./run.js";
import { cellsOf, faultOf, km2Of, toMap } from "./shape.js";
import { createUpload } from "./upload.js";

const SLOTS = [
  { letter: "A", area: "area", name: "areaName" },
  { letter: "B", area: "area2", name: "area2Name" },
];
// What the map shows of the steps: Enter, Escape and the others are told beside the buttons.
const DRAW_KEYS = ["arrows", "shift", "space", "backspace", "redo", "enter", "escape"];
const EDIT_KEYS = ["arrows", "shift", "choose", "move", "insert", "delete", "backspace", "enter", "escape"];

// panel: the empty element of the tab.
export function createArea({ map, state, panel }) {
  const layer = createAreaLayer(map.ol);
  const slots = SLOTS.map((slot) => ({ ...slot, history: createHistory(state.get()[slot.area]) }));
  let slot = slots[0];
  let session = null; // what draws or edits, or null
  let kind = null; // "polygon" | "rectangle" | "hole" | "edit" | null
  let told = null; // of the session
  let reason = null; // why something was refused: {key, values}
  let catalog = null;
  let run = { status: "none", share: null, error: "", reports: [], asked: "" };
  let controller = new AbortController();

  const area = () => state.get()[slot.area];
  const compare = () => state.get().compare;
  const root = element("div", "area-root");
  panel.append(root);

  // ---- choosing an area

  const title = words("h2", "", () => t("area.title"));
  const intro = words("p", "area-intro", () => t("area.intro"));
  const which = slots.map((one, i) => command(`area.slot.${one.letter}`, () => useSlot(i)));
  const whichBox = element("div", "area-slots", ...which.map(({ node }) => node));
  whichBox.setAttribute("role", "group");
  const tools = {
    polygon: command("area.draw", () => draw("polygon")),
    rectangle: command("area.rectangle", () => draw("rectangle")),
    upload: command("area.upload", () => open("upload")),
    places: command("area.places", () => open("places")),
  };
  tools.places.node.hidden = true;
  const toolBox = element("div", "area-buttons area-tools", ...Object.values(tools).map(({ node }) => node));
  toolBox.setAttribute("role", "group");
  const upload = createUpload({ map, onChosen: choose });
  const places = createPlaces({ onChosen: choose });
  const drawers = { upload, places };
  upload.node.addEventListener("dropped", () => {
    showPanel("area");
    if (upload.node.hidden) open("upload");
  });
  const sections = [title.node, intro.node, whichBox, toolBox, upload.node, places.node];

  // ---- drawing and editing

  const sketchTitle = element("h3", "");
  const measure = element("p", "area-measure");
  const problem = element("p", "area-problem");
  const steps = {
    place: command("area.place-vertex", () => session.place(), "strong big"),
    next: command("area.vertex-next", () => session.next()),
    previous: command("area.vertex-previous", () => session.previous()),
    move: command("area.vertex-move", () => session.move()),
    insert: command("area.vertex-insert", () => session.insert()),
    remove: command("area.vertex-remove", () => session.remove()),
    finish: command("area.finish", () => session.finish(), "strong"),
    undo: command("area.undo", () => session.undo()),
    redo: command("area.redo", () => session.redo()),
    cancel: command("area.cancel-drawing", () => session.cancel()),
  };
  for (const [name, { node }] of Object.entries(steps)) node.dataset.step = name;
  const stepBox = element("div", "area-buttons", ...Object.values(steps).map(({ node }) => node));
  const keys = element("details", "area-keys");
  const sketch = element("section", "area-section area-sketch", sketchTitle, measure, problem, stepBox, keys);
  sketch.hidden = true;

  // ---- the area that stands chosen

  const nameInput = Object.assign(element("input"), { id: "area-name", type: "text", maxLength: 120, autocomplete: "off" });
  const nameLabel = words("label", "", () => t("area.name"));
  nameLabel.node.htmlFor = nameInput.id;
  const size = element("p", "area-measure");
  const linkNote = element("p", "area-note");
  const changes = {
    edit: command("area.edit", () => edit(), "small"),
    hole: command("area.hole", () => draw("hole"), "small"),
    fit: command("area.fit", () => fit(), "small"),
    save: command("area.save", () => saveArea(), "small"),
    back: command("area.undo-area", () => travel("undo"), "small"),
    forth: command("area.redo-area", () => travel("redo"), "small"),
    remove: command("area.delete", () => remove(), "small"),
  };
  for (const [name, { node }] of Object.entries(changes)) node.dataset.change = name;
  const changeBox = element("div", "area-buttons", ...Object.entries(changes).filter(([name]) => name !== "save").map(([, { node }]) => node));
  const listing = Object.assign(element("textarea"), { id: "area-list", rows: 6, spellcheck: false });
  const listLabel = words("label", "area-hint", () => t("area.list.help"));
  listLabel.node.htmlFor = listing.id;
  const listTitle = words("summary", "", () => t("area.list"));
  const listFault = element("p", "area-problem");
  const apply = command("area.list.apply", () => readList(), "small");
  const lists = element("details", "area-list", listTitle.node, listLabel.node, listing, listFault, element("div", "area-buttons", apply.node, changes.save.node));
  listFault.id = "area-list-fault";
  const naming = element("div", "area-field", nameLabel.node, nameInput);
  const chosen = element("section", "area-section area-chosen", size, linkNote, changeBox, naming);

  // ---- the answer

  const go = command("area.analyse", () => analyse(), "strong big");
  go.node.dataset.go = "";
  const stop = command("area.cancel", () => controller.abort(), "small");
  const bar = element("progress", "area-progress");
  bar.max = 1;
  const progress = element("div", "area-running", bar, stop.node);
  progress.hidden = true;
  const status = element("p", "area-status");
  const retry = command("area.retry", () => analyse(), "small");
  const against = Object.assign(element("select"), { id: "area-against" });
  const againstLabel = words("label", "", () => t("area.compare.with"));
  againstLabel.node.htmlFor = against.id;
  const comparing = element("div", "area-field", againstLabel.node, against);
  const actions = { onShow: (id) => state.set({ layer: speciesLayer(id) }), onCopy: copyLink };
  const result = createResult(actions);
  const comparison = createComparison(actions);
  const documents = createDocuments({ map, inputs: () => inputsOf(0, true), name: fileName });
  const analysis = element("section", "area-section area-analysis", comparing, go.node, progress, status, retry.node);
  root.append(...sections, sketch, chosen, lists, analysis, result.node, comparison.node, documents.node);

  // ---- what the buttons do

  function useSlot(i) {
    slot = slots[i];
    refresh();
    announce(t(`area.slot.${slot.letter}`));
  }

  function open(name) {
    for (const [other, drawer] of Object.entries(drawers)) drawer.node.hidden = other !== name || !drawer.node.hidden;
    for (const other of Object.keys(drawers)) tools[other].node.setAttribute("aria-expanded", String(!drawers[other].node.hidden));
    if (drawers[name].node.hidden) return;
    if (name === "places") places.look();
    (name === "places" ? places.select : upload.input).focus();
  }

  function closeDrawers() {
    for (const [name, drawer] of Object.entries(drawers)) {
      drawer.node.hidden = true;
      tools[name].node.setAttribute("aria-expanded", "false");
    }
  }

  // A polygon was drawn, edited, uploaded or picked: it is rounded here once and for all.
  function choose(geometry, name = null) {
    closeDrawers();
    slot.history.push(geometry);
    state.set({ [slot.area]: geometry, ...(name === null ? {} : { [slot.name]: name }) });
    fitWhereHidden();
    announce(`${measureText(geometry)}. ${t("area.ready")}`);
    go.node.focus();
  }

  function draw(what) {
    closeDrawers();
    begin(what, (events) => startDrawing({ map, layer, kind: what, around: what === "hole" ? area() : null, ...events }));
    announce(t(`area.start.${what}`));
  }

  function edit() {
    closeDrawers();
    layerPaint(slot);
    begin("edit", (events) => startEditing({ map, layer, geometry: area(), ...events }));
    announce(t("area.start.edit"));
  }

  function begin(what, start) {
    kind = what;
    told = null;
    reason = null;
    document.body.classList.add("sketching");
    const back = document.activeElement;
    let before = 0;
    session = start({
      onChange: (now) => {
        const first = told === null;
        const fault = now.fault && t(`area.fault.${now.fault.kind}`);
        const known = told?.fault && t(`area.fault.${told.fault.kind}`);
        told = now;
        reason = null;
        drawSketch();
        const count = now.points?.length ?? now.count;
        if (fault && fault !== known) announce(fault);
        else if (!first && count !== before) announce(sketchText());
        else if (!first && now.number) announce(t("area.vertex-of", { number: String(now.number), n: now.count }));
        before = count;
      },
      onRefused: (fault) => {
        reason = { key: `area.fault.${fault.kind}`, values: { n: fault.missing ?? 0 } };
        drawSketch();
        announce(t(reason.key, reason.values));
      },
      onDone: (geometry) => {
        const edited = kind === "edit";
        session = null;
        kind = null;
        document.body.classList.remove("sketching");
        layerPaint();
        if (geometry) choose(geometry);
        else {
          refresh();
          announce(t(edited ? "area.edit-cancelled" : "area.drawing-cancelled"));
          (back?.isConnected && root.contains(back) ? back : tools.polygon.node).focus();
        }
      },
    });
    refresh();
    map.ol.getTargetElement().focus({ preventScroll: true });
  }

  function remove() {
    slot.history.push(null);
    state.set({ [slot.area]: null, [slot.name]: null });
    announce(t("area.deleted"));
    tools.polygon.node.focus();
  }

  function travel(move) {
    state.set({ [slot.area]: slot.history[move]() });
    announce(area() ? measureText(area()) : t("area.deleted"));
  }

  function fit() {
    map.fit(boundsOf(toMap(area(), map)), 48);
  }

  function fitWhereHidden() {
    const [west, south, east, north] = boundsOf(toMap(area(), map));
    const [left, bottom, right, top] = map.view.calculateExtent(map.ol.getSize());
    if (west < left || east > right || south < bottom || north > top) fit();
  }

  function saveArea() {
    const feature = { type: "Feature", properties: { name: state.get()[slot.name] }, geometry: area() };
    saveBlob(new Blob([JSON.stringify(feature)], { type: "application/geo+json" }), `${fileName()}-${t("area.file.polygon")}.geojson`);
  }

  function readList() {
    const read = fromText(listing.value, listWords());
    const geometry = read.geometry && rounded(read.geometry);
    const fault = geometry && faultOf(geometry, map);
    if (!geometry || fault) {
      listFault.textContent = fault ? t(`area.fault.${fault.kind}`) : t(`area.list.${read.kind ?? "few"}`, { line: String(read.line ?? 1) });
      listing.setAttribute("aria-invalid", "true");
      listing.setAttribute("aria-describedby", listFault.id);
      announce(listFault.textContent);
      listing.focus();
      return;
    }
    choose(geometry);
  }

  function fileName() {
    const name = (state.get().areaName ?? "").replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "");
    return `geoplantnet-${name || t("area.file.area")}`;
  }

  async function copyLink() {
    const link = state.link();
    let key = "area.copied";
    try {
      await navigator.clipboard.writeText(link);
    } catch {
      key = "area.copy-by-hand"; // without https browsers keep the clipboard to themselves
    }
    status.textContent = t(key);
    announce(status.textContent);
  }

  // ---- the analysis

  function inputsOf(i, whole = false) {
    const now = state.get();
    const inputs = { area: now.area, lang: lang() };
    if (now.areaName) inputs.name = now.areaName;
    if (now.scenario) inputs.scenario = now.scenario;
    if (i === 1) {
      if (compare() === "area") return { ...inputs, area: now.area2, name: now.area2Name ?? undefined };
      return { ...inputs, scenario: compare() };
    }
    if (!whole) return inputs;
    state.link(); // writes the address
    if (encode(now.area) !== null) inputs.link = location.hash;
    if (compare() === "area" && now.area2) inputs.compare = { type: "Feature", properties: { name: now.area2Name }, geometry: now.area2 };
    else if (compare() && compare() !== "area") inputs.compare = { scenario: compare() };
    return inputs;
  }

  function asked() {
    const { area, area2, areaName, area2Name, scenario } = state.get();
    return JSON.stringify([area, compare() === "area" ? [area2, area2Name] : compare(), areaName, scenario, lang()]);
  }

  // What forbids an analysis, or null.
  function obstacle() {
    if (session) return { key: "area.refused.drawing" };
    if (!state.get().area) return { key: "area.refused.no-area" };
    if (compare() === "area" && !state.get().area2) return { key: "area.refused.no-second" };
    return null;
  }

  async function analyse({ quietly = false } = {}) {
    if (obstacle()) return;
    controller.abort();
    controller = new AbortController();
    const { signal } = controller;
    const question = asked();
    run = { status: "running", share: null, error: "", reports: [], asked: question };
    refresh();
    if (!quietly) announce(t("area.running"));
    const parts = compare() ? [0, 1] : [0];
    const shares = parts.map(() => null);
    const onProgress = (i) => (share) => {
      shares[i] = share;
      run.share = shares.some((one) => one === null) ? null : shares.reduce((sum, one) => sum + one, 0) / parts.length;
      drawRun();
    };
    try {
      const reports = await Promise.all(parts.map((i) => report(inputsOf(i), { map, signal, onProgress: onProgress(i) })));
      if (signal.aborted) return;
      run = { ...run, status: "done", reports };
    } catch (error) {
      if (question !== run.asked) return; // another analysis has begun
      if (signal.aborted) run = { ...run, status: "cancelled" };
      else if (error instanceof ServerError) run = { ...run, status: "failed", error: error.message };
      else throw error;
      controller.abort(); // of two, the other
    }
    refresh();
    drawReports();
    announce(runText());
    if (!quietly && run.status === "done") root.querySelector(".area-result:not([hidden]) [tabindex='-1']")?.focus();
    if (!quietly) root.querySelector(".area-result:not([hidden])")?.scrollIntoView({ block: "start" });
  }

  function runText() {
    const { status: now, share, error, reports } = run;
    if (now === "running") return share === null ? t("area.running") : t("area.running-share", { share: percent(share) });
    if (now === "failed") return error;
    if (now === "cancelled") return t("area.cancelled");
    if (now !== "done") return "";
    const found = t("area.found", { n: reports[0].count });
    return reports.length === 2 ? t("area.compare.found", { a: labels().a, b: labels().b, first: reports[0].count, second: reports[1].count }) : found;
  }

  function labels() {
    const { areaName, area2Name, scenario } = state.get();
    const named = (letter, name) => (name ? `${letter} · ${name}` : t(`area.slot.${letter}`));
    if (compare() === "area") return { a: named("A", areaName), b: named("B", area2Name) };
    return { a: named("A", epochTitle(scenario)), b: named("B", epochTitle(compare())) };
  }

  function drawReports() {
    const done = run.status === "done";
    result.node.hidden = !done || run.reports.length !== 1;
    comparison.node.hidden = !done || run.reports.length !== 2;
    documents.node.hidden = !done || run.reports[0].area.cells === 0;
    if (!done) return;
    if (run.reports.length === 1) result.draw(run.reports[0], epochTitle);
    else comparison.draw(run.reports[0], run.reports[1], labels(), epochTitle);
  }

  // ---- drawing the panel

  function measureText(geometry) {
    const km2 = km2Of(toMap(geometry, map));
    return t("area.measure", { n: vertexCount(geometry) - geometry.coordinates.flat(geometry.type === "Polygon" ? 0 : 1).length, km2: number(km2, digits(km2)), cells: number(cellsOf(km2)) });
  }

  function sketchText() {
    const n = told.points?.length ?? told.count;
    return t("area.measure", { n, km2: number(told.km2, digits(told.km2)), cells: number(told.cells) });
  }

  function drawSketch() {
    sketch.hidden = !session && !kind;
    if (!kind || !told) return;
    const edits = kind === "edit";
    sketchTitle.textContent = t(`area.title.${kind}`);
    measure.textContent = sketchText();
    const fault = told.fault ? { key: `area.fault.${told.fault.kind}` } : null;
    problem.textContent = reason ? t(reason.key, reason.values) : fault ? t(fault.key) : "";
    for (const name of ["next", "previous", "move", "insert", "remove"]) steps[name].node.hidden = !edits;
    steps.place.node.hidden = edits;
    const none = told.number ? null : { key: "area.fault.none-chosen" };
    steps.move.refuse(none);
    steps.insert.refuse(none);
    steps.remove.refuse(none ?? (told.small ? { key: "area.fault.too-few" } : null));
    steps.finish.refuse(fault ?? (told.missing ? { key: "area.fault.missing", values: { n: told.missing } } : null));
    steps.undo.refuse(told.canUndo ? null : { key: "area.refused.undo" });
    steps.redo.refuse(told.canRedo ? null : { key: "area.refused.redo" });
  }

  function drawKeys() {
    const rows = (kind === "edit" ? EDIT_KEYS : DRAW_KEYS).map((key) => [t(`area.key.${key}`), t(`area.key.${key}.does`)]);
    const pairs = rows.flatMap(([key, does]) => [element("dt", "", element("kbd", "", key)), element("dd", "", does)]);
    keys.replaceChildren(element("summary", "", t("area.keys")), element("dl", "", ...pairs));
  }

  function drawRun() {
    progress.hidden = run.status !== "running";
    if (run.share === null) bar.removeAttribute("value");
    else bar.value = run.share;
    bar.setAttribute("aria-label", t("area.running"));
    status.classList.toggle("failed", run.status === "failed");
    status.textContent = run.status === "done" ? "" : runText();
    retry.node.hidden = run.status !== "failed";
  }

  function listWords() {
    return { hole: t("area.list.hole"), polygon: t("area.list.polygon") };
  }

  function layerPaint(without = null) {
    const shown = compare() === "area" ? slots : slots.slice(0, 1);
    const areas = shown.filter((one) => one !== without && state.get()[one.area]);
    layer.paint(areas.map(({ letter, area: key }) => ({ letter, polygons: toMap(state.get()[key], map) })));
  }

  function refresh() {
    const now = state.get();
    const two = compare() === "area";
    const geometry = area();
    intro.node.hidden = Boolean(now.area) || Boolean(session);
    whichBox.hidden = !two || Boolean(session);
    whichBox.setAttribute("aria-label", t("area.slots"));
    for (const [i, one] of which.entries()) one.press(slot === slots[i]);
    toolBox.hidden = Boolean(session);
    toolBox.setAttribute("aria-label", t("area.tools"));
    chosen.hidden = !geometry || Boolean(session);
    lists.hidden = Boolean(session);
    analysis.hidden = Boolean(session);
    result.node.hidden ||= Boolean(session);
    comparing.hidden = !now.area;
    changes.save.refuse(geometry ? null : { key: "area.refused.no-area" });
    changes.back.refuse(slot.history.canUndo ? null : { key: "area.refused.undo" });
    changes.forth.refuse(slot.history.canRedo ? null : { key: "area.refused.redo" });
    go.refuse(obstacle());
    if (geometry) {
      size.textContent = measureText(geometry);
      const long = encode(geometry) === null;
      linkNote.hidden = !long;
      linkNote.textContent = t("area.link-too-long", { n: vertexCount(geometry) });
      if (document.activeElement !== nameInput) nameInput.value = now[slot.name] ?? "";
    }
    if (document.activeElement !== listing) {
      listing.value = geometry ? toText(geometry, listWords()) : "";
      listFault.textContent = "";
      listing.removeAttribute("aria-invalid");
    }
    drawAgainst();
    drawKeys();
    drawSketch();
    drawRun();
  }

  function epochTitle(name) {
    return catalog?.epochTitle(name) ?? name ?? t("area.today");
  }

  function drawAgainst() {
    const epochs = catalog?.epochs ?? [];
    const options = [
      ["", t("area.compare.nothing")],
      ["area", t("area.compare.area")],
      ...epochs.filter(({ name }) => name !== (state.get().scenario ?? epochs[0].name)).map(({ name }) => [name, epochTitle(name)]),
    ];
    against.replaceChildren(...options.map(([value, text]) => new Option(text, value, false, value === (compare() ?? ""))));
  }

  // ---- what happens elsewhere

  against.addEventListener("change", () => {
    if (against.value === "area" && !state.get().area2) slot = slots[1];
    state.set({ compare: against.value || null });
  });
  nameInput.addEventListener("change", () => state.set({ [slot.name]: nameInput.value.trim() || null }));
  state.on((now, before) => {
    if (settle()) return; // it is told again, of what then holds
    const keys = ["area", "area2", "areaName", "area2Name", "compare", "scenario"];
    if (compare() !== "area") slot = slots[0];
    for (const one of slots) if (now[one.area] !== one.history.value) one.history.push(now[one.area]);
    if (keys.some((key) => now[key] !== before[key])) changed();
  });
  onLanguage(() => {
    refresh();
    upload.draw();
    places.draw();
    // the server tells names and titles in the language of the page
    if (run.status === "done") analyse({ quietly: true });
    else drawReports();
  });

  // A period can only be compared with another one that is mapped. -> whether the comparison had to go
  function settle() {
    const { compare: other, scenario } = state.get();
    if (!other || other === "area" || !catalog) return false;
    const { epochs } = catalog;
    if (epochs.some(({ name }) => name === other) && other !== (scenario ?? epochs[0].name)) return false;
    state.set({ compare: null });
    return true;
  }

  // The area, or what it is asked for, is another: what was answered no longer holds.
  function changed() {
    if (run.asked !== asked()) {
      controller.abort();
      run = { status: "none", share: null, error: "", reports: [], asked: "" };
      documents.forget();
      drawReports();
    }
    if (!session) layerPaint();
    refresh();
  }

  fetchCatalog()
    .then(async (fetched) => {
      catalog = fetched;
      settle();
      drawAgainst();
      greet();
      if (catalog.places) tools.places.node.hidden = !(await places.load());
    })
    .catch((error) => {
      if (!(error instanceof ServerError)) throw error; // the page itself says that the server is silent
      if (!catalog) greet();
    });
  addEventListener("hashchange", () => setTimeout(greet)); // once the page has read the address
  drawReports();
  layerPaint();
  refresh();

  // A link that somebody sent says what it was sent for.
  function greet() {
    if (state.get().tab === "area" && run.status === "none") analyse({ quietly: true });
  }
}
