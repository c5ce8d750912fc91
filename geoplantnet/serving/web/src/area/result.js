// What the server says of an area, in words, numbers and a table; of two areas side by side.
import { element } from "../dom.js";
import { classCode, className } from "../format.js";
import { date, number, percent, t } from "../i18n.js";
import { GROUPS, joined } from "./rows.js";
import { createTable, share } from "./table.js";

// actions: {onShow(taxonID), onCopy()}. -> {node, draw(report)}
export function createResult(actions) {
  let report = null;
  const before = element("div");
  const after = element("div");
  const table = createTable({
    caption: () => t("area.table.caption", { name: nameOf(report) }),
    onShow: actions.onShow,
    onFilter: (groups) => {
      for (const card of before.querySelectorAll("[data-group]")) card.setAttribute("aria-pressed", String(groups.has(card.dataset.group)));
    },
  });
  const node = element("div", "area-result", before, table.node, after);
  return {
    node,
    draw(told, epochTitle) {
      report = told;
      before.replaceChildren(...opening(report), ...(report.cells === 0 ? [] : [cards(report, table)]));
      table.node.hidden = report.area.cells === 0;
      table.set(report.species);
      after.replaceChildren(...[habitats(report), indicators(report), provenance(report, epochTitle, actions)].filter(Boolean));
    },
  };
}

// Two reports. labels: {a, b} in words. -> {node, draw(a, b, labels)}
export function createComparison(actions) {
  let labels = { a: "A", b: "B" };
  const before = element("div");
  const table = createTable({ caption: () => t("area.compare.caption", labels), pair: true, onShow: actions.onShow });
  return {
    node: element("div", "area-result", before, table.node),
    draw(a, b, named, epochTitle) {
      labels = named;
      before.replaceChildren(...warnings(a), ...warnings(b), columns(a, b, labels, epochTitle));
      table.set(joined(a.species, b.species));
    },
  };
}

function nameOf(report) {
  return report?.area.name || t("area.this");
}

function opening(report) {
  const { area } = report;
  const title = element("h3", "area-found", t("area.found", { n: report.count }));
  title.tabIndex = -1;
  const facts = [
    [t("area.fact.km2"), t("area.km2", { value: number(area.km2, digits(area.km2)) })],
    [t("area.fact.cells"), t("area.cells-of", { n: Math.round(area.cells) })],
    [t("area.fact.tiles"), number(area.tiles)],
  ];
  const empty = area.cells === 0 ? [element("p", "area-note", t("area.no-data"))] : [];
  const predicted = t("area.predicted");
  const notice = report.notice ?? "";
  const more = notice.startsWith(predicted) ? notice.slice(predicted.length) : ` ${notice}`; // said once
  const header = element("p", "area-header", element("strong", "", predicted), more);
  return [title, header, list("area-facts", facts), ...empty, ...warnings(report)];
}

function warnings(report) {
  const told = [];
  const { area } = report;
  if (area.partial && area.cells > 0) {
    told.push(t("area.partial", { mapped: number(area.mapped_km2, digits(area.mapped_km2)), whole: number(area.km2, digits(area.km2)) }));
  }
  if (report.generalised) told.push(t("area.generalised-count", { n: report.generalised }));
  if (report.withheld) told.push(t("area.withheld", { n: report.withheld }));
  return told.map((text) => element("p", "area-note", text));
}

// The groups a planner asks for first; each card filters the table.
function cards(report, table) {
  const box = element("div", "area-cards");
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", t("area.table.groups"));
  for (const group of Object.keys(GROUPS)) {
    const told = report.groups?.[group];
    if (!told) continue;
    const card = element("button", "area-card", element("span", "figure", number(told.count)), element("span", "what", t(`area.group.${group}`)));
    card.type = "button";
    card.dataset.group = group;
    card.setAttribute("aria-pressed", String(table.groups.has(group)));
    if (group === "threatened" && typeof told.expected === "number") card.append(element("span", "more", t("area.expected", { value: number(told.expected, 2) })));
    if (told.unknown) card.append(element("span", "more", t("area.unknown-of", { n: told.unknown })));
    card.addEventListener("click", () => table.toggle(group));
    box.append(card);
  }
  return box;
}

// Shares as a bar of lettered parts, and the same in words.
function habitats(report) {
  const found = (report.habitats ?? []).filter((one) => one.share > 0);
  if (!found.length) return null;
  const sorted = [...found].sort((a, b) => b.share - a.share);
  const bar = element("div", "area-habitats");
  bar.setAttribute("aria-hidden", "true");
  const rows = element("ol", "area-habitat-list");
  for (const [i, one] of sorted.entries()) {
    const code = classCode(one, i);
    const part = element("span", `habitat shade-${i % 6}`, one.share > 0.08 ? code : "");
    part.style.setProperty("--share", one.share);
    bar.append(part);
    const sign = element("span", `letter shade-${i % 6}`, code);
    rows.append(element("li", "", sign, element("span", "label", className(one)), element("span", "share", share(one.share))));
  }
  return section(t("area.habitats"), bar, rows);
}

function indicators(report) {
  const shown = (report.indicators ?? []).filter((one) => one.mean !== undefined && one.mean !== null);
  if (!shown.length) return null;
  const rows = shown.map((one) => [one.title, element("span", "", valueOf(one), intervalOf(one))]);
  return section(t("area.indicators"), list("area-indicators", rows));
}

function valueOf({ mean, unit, title }) {
  const value = number(mean, digits(mean));
  return unit && unit !== "1" && unit !== title ? `${value} ${t(`unit.${unit}`) === `unit.${unit}` ? unit : t(`unit.${unit}`)}` : value;
}

function intervalOf({ low, high }) {
  if (low === null || low === undefined || high === null || high === undefined) return null;
  return element("span", "area-range", t("area.range", { low: number(low, digits(low)), high: number(high, digits(high)) }));
}

function provenance(report, epochTitle, actions) {
  const { area, epoch, version } = report;
  const model = version.model && (typeof version.model === "string" ? version.model : [version.model.name, version.model.version].filter(Boolean).join(" "));
  const rows = [
    [t("area.fact.period"), `${epochTitle(epoch.name)}${epoch.start ? ` (${year(epoch.start)}–${year(epoch.end)})` : ""}`],
    [t("area.fact.rule"), t("area.rule", { least: percent(report.min_coverage ?? 0) })],
    [t("area.fact.members"), report.members > 1 ? t("area.members", { n: report.members }) : t("area.one-model")],
    [t("area.fact.catalog"), code(version.catalog)],
    [t("area.fact.list"), code(version.species_list)],
    ...(model ? [[t("area.fact.model"), model]] : []),
    [t("area.fact.software"), `geoplantnet ${version.software}`],
    [t("area.fact.hash"), code(area.sha256)],
    ...(report.licence ? [[t("area.fact.licence"), report.licence]] : []),
  ];
  const copy = element("button", "button small", t("area.copy"));
  copy.type = "button";
  copy.addEventListener("click", actions.onCopy);
  const summary = element("summary", "", t("area.provenance"));
  return element("details", "area-provenance", summary, list("area-facts wide", rows), copy);
}

// The two reports' numbers, a column each.
function columns(a, b, labels, epochTitle) {
  const plain = (report) => [
    ...(a.epoch.name === b.epoch.name ? [] : [[t("area.fact.period"), epochTitle(report.epoch.name)]]),
    [t("area.fact.km2"), number(report.area.km2, digits(report.area.km2))],
    [t("area.fact.cells"), number(Math.round(report.area.cells))],
    [t("area.compare.species"), number(report.count)],
    ...Object.keys(GROUPS).map((group) => [t(`area.group.${group}`), report.groups?.[group] ? number(report.groups[group].count) : "–"]),
  ];
  const rows = plain(a).map(([name, value], i) => [name, value, plain(b)[i][1]]);
  for (const one of a.indicators ?? []) {
    const other = (b.indicators ?? []).find(({ layer }) => layer === one.layer);
    if (typeof one.mean === "number" && typeof other?.mean === "number") rows.push([one.title, valueOf(one), valueOf(other)]);
  }
  const head = element("tr", "", heading("col", t("area.compare.what")), heading("col", labels.a), heading("col", labels.b));
  const body = rows.map(([name, first, second]) => element("tr", "", heading("row", name), element("td", "number", first), element("td", "number", second)));
  const table = element("table", "area-pair", element("caption", "unseen", t("area.compare.numbers", labels)), element("thead", "", head), element("tbody", "", ...body));
  return table;
}

function heading(scope, text) {
  const cell = element("th", "", text);
  cell.scope = scope;
  return cell;
}

function section(title, ...content) {
  return element("section", "area-section", element("h3", "", title), ...content);
}

function list(className, rows) {
  return element("dl", className, ...rows.flatMap(([name, value]) => [element("dt", "", name), element("dd", "", value)]));
}

function code(text) {
  return element("code", "", text);
}

function year(iso) {
  return date(iso).match(/\d{4}/)?.[0] ?? iso.slice(0, 4);
}

// Digits behind the point, for about three that count.
export function digits(value) {
  const size = Math.abs(value);
  return size >= 100 || size === 0 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
}
