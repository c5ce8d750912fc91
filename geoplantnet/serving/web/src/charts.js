// Bars of counts, linear or logarithmic, and the same as a table for who does not see them.
import { element } from "./dom.js";
import { number, t } from "./i18n.js";

const FEWEST = 3; // ticks of a scale
const CLASSES = 16; // bars of altitude that a panel has room for

// Where a count stands between nothing (0) and the top of its scale (1).
export function height(count, top, log) {
  if (!count || !top) return 0;
  return log ? Math.log10(1 + count) / Math.log10(1 + top) : count / top;
}

// The top of a scale, and the counts it is marked at: powers of ten, or some four even steps that people count in.
export function scaleOf(highest, log) {
  const most = Math.max(highest, 1);
  if (log) {
    const powers = Array.from({ length: Math.floor(Math.log10(most)) + 1 }, (_, i) => 10 ** i);
    return { top: most, ticks: [0, ...powers] };
  }
  const power = 10 ** Math.floor(Math.log10(most));
  const step = Math.max([0.2, 0.25, 0.5, 1, 2, 2.5, 5].map((one) => one * power).find((one) => Number.isInteger(one) && most / one <= FEWEST + 1) ?? power, 1);
  const top = Math.ceil(most / step) * step;
  return { top, ticks: Array.from({ length: Math.round(top / step) + 1 }, (_, i) => i * step) };
}

// Classes of altitude, gaps filled, joined until there are few enough: of 100, 200, 500 or 1,000 m.
export function joined(classes) {
  const low = Math.min(...classes.map(({ from }) => from));
  const high = Math.max(...classes.map(({ to }) => to));
  const width = [100, 200, 500, 1000].find((one) => Math.ceil(high / one) - Math.floor(low / one) <= CLASSES) ?? 1000;
  const found = [];
  for (let from = Math.floor(low / width) * width; from < high; from += width) {
    const inside = classes.filter((one) => one.from >= from && one.from < from + width);
    found.push({ from, to: from + width, count: inside.reduce((sum, one) => sum + one.count, 0) });
  }
  return found;
}

// bars: [{short, name, count}] -> upright bars; `label` tells it in a sentence.
export function columns(bars, log, label) {
  const { top, ticks } = scaleOf(Math.max(...bars.map(({ count }) => count)), log);
  const figure = element("div", "columns");
  figure.setAttribute("role", "img");
  figure.setAttribute("aria-label", label);
  const scale = element("div", "scale");
  for (const tick of ticks) {
    const mark = element("span", "", number(tick));
    mark.style.bottom = `${100 * height(tick, top, log)}%`;
    scale.append(mark);
  }
  const plot = element("div", "plot");
  for (const { short, name, count } of bars) {
    const bar = element("span", "column");
    const fill = element("span", count ? "fill" : "");
    fill.style.height = `${100 * height(count, top, log)}%`;
    bar.title = `${name}: ${number(count)}`;
    bar.append(fill, element("span", "short", short));
    plot.append(bar);
  }
  figure.append(scale, plot);
  return figure;
}

// bars: [{name, count}], the first on top -> a table whose last column draws the counts.
export function rows(bars, log, { caption, heads }) {
  const top = Math.max(...bars.map(({ count }) => count));
  const table = element("table", "bars", element("caption", "unseen", caption), headRow(heads));
  const body = element("tbody");
  for (const { name, count } of bars) {
    const fill = element("span", count ? "fill" : "");
    fill.style.width = `${100 * height(count, top, log)}%`;
    const drawn = element("td", "drawn", element("span", "", fill));
    drawn.setAttribute("aria-hidden", "true");
    body.append(element("tr", "", rowHead(name), element("td", "", number(count)), drawn));
  }
  table.append(body);
  return table;
}

// The same counts to read, behind a word to open.
export function asTable(bars, { caption, heads }) {
  const body = element("tbody", "", ...bars.map(({ name, count }) => element("tr", "", rowHead(name), element("td", "", number(count)))));
  return element("details", "as-table", element("summary", "", t("records.as-table")), element("table", "bars", element("caption", "unseen", caption), headRow(heads), body));
}

function headRow(heads) {
  const cells = heads.map((words) => {
    const cell = element("th", "", words);
    cell.scope = "col";
    return cell;
  });
  return element("thead", "unseen", element("tr", "", ...cells));
}

function rowHead(words) {
  const cell = element("th", "", words);
  cell.scope = "row";
  return cell;
}
