// The species of an area as a table: ordered by any column, filtered by words and groups, a page of rows at a time.
import { announce } from "../announce.js";
import { element } from "../dom.js";
import { number, t } from "../i18n.js";
import { iucnBadge } from "../taxon.js";
import { GROUPS, filtered, sorted } from "./rows.js";

const PAGE = 50; // rows
const NONE = "–";
const CELLS = {
  tree: (species) => answer(species.tree),
  invasive: (species) => answer(species.invasive),
  directive: (species) => answer(species.directive),
  endemic: (species) => answer(species.narrowRanged),
  iucn: (species) => category(species.iucn),
  id: (species) => element("td", "column-id", species.taxonID),
};
const SINGLE = ["name", "coverage", "iucn", "tree", "invasive", "directive", "endemic", "id"];
const PAIR = ["name", "coverage-a", "coverage-b", "difference", "side", "iucn", "invasive", "directive", "id"];

// columns of one area, or of two compared. caption(): words. onShow(taxonID): a name was clicked.
// -> {node, set(species), refresh(), toggle(group), groups}
export function createTable({ caption, pair = false, onShow, onFilter = () => {} }) {
  const columns = pair ? PAIR : SINGLE;
  let species = [];
  let order = pair ? { column: "difference", descending: false } : { column: "coverage", descending: true };
  let page = 0;
  let text = "";
  let side = null;
  const groups = new Set();

  const search = element("input", "area-filter");
  Object.assign(search, { type: "search", autocomplete: "off", spellcheck: false });
  const chips = element("div", "area-chips");
  const status = element("p", "area-count");
  const table = element("table", "area-table");
  const scroller = element("div", "area-scroll", table);
  const pager = element("div", "area-pager");
  const enlarge = element("button", "button small");
  enlarge.type = "button";
  const head = element("div", "area-table-head", search, enlarge);
  const inner = element("div", "area-table-inner", head, chips, status, scroller, pager);
  const node = element("div", "area-table-box", inner);
  scroller.tabIndex = 0;
  scroller.setAttribute("role", "region");
  chips.setAttribute("role", "group");
  search.addEventListener("input", () => {
    text = search.value;
    turn();
  });
  enlarge.addEventListener("click", () => widen());

  const key = (column) =>
    ({
      "coverage-a": (row) => row.a?.coverage ?? 0,
      "coverage-b": (row) => row.b?.coverage ?? 0,
      difference: (row) => row.difference,
      side: (row) => row.side,
    })[column];

  function chosen() {
    const kept = filtered(species, text, groups).filter((row) => side === null || row.side === side);
    const own = key(order.column);
    if (!own) return sorted(kept, order.column, order.descending);
    const sign = order.descending ? -1 : 1;
    return [...kept].sort((a, b) => sign * (typeof own(a) === "string" ? own(a).localeCompare(own(b)) : own(a) - own(b)));
  }

  function turn(to = 0) {
    page = to;
    draw();
    onFilter(groups);
  }

  function draw() {
    const rows = chosen();
    const pages = Math.max(Math.ceil(rows.length / PAGE), 1);
    page = Math.min(page, pages - 1);
    const from = page * PAGE;
    drawFrame(rows, from, pages);
    const body = element("tbody", "", ...rows.slice(from, from + PAGE).map(row));
    if (!rows.length) {
      const empty = element("td", "empty", t(species.length ? "area.table.no-match" : "area.table.none"));
      empty.colSpan = columns.length;
      body.append(element("tr", "", empty));
    }
    table.replaceChildren(element("caption", "unseen", caption()), header(), body, footer(rows));
  }

  function drawFrame(rows, from, pages) {
    search.placeholder = t("area.table.filter");
    search.setAttribute("aria-label", t("area.table.filter"));
    scroller.setAttribute("aria-label", caption());
    chips.setAttribute("aria-label", t("area.table.groups"));
    enlarge.textContent = t(node.contains(inner) ? "area.table.enlarge" : "area.table.reduce");
    const of = rows.length === species.length ? t("area.table.count", { n: species.length }) : t("area.table.count-of", { n: rows.length, of: species.length });
    status.textContent = of;
    const chip = (pressed, words, onClick, name) => {
      const one = element("button", "area-chip", words);
      one.type = "button";
      one.dataset.chip = name;
      one.setAttribute("aria-pressed", String(pressed));
      one.addEventListener("click", () => {
        onClick();
        turn();
        announce(status.textContent);
        chips.querySelector(`[data-chip="${name}"]`).focus();
      });
      return one;
    };
    const sides = pair ? ["both", "a", "b"].map((one) => chip(side === one, t(`area.side.${one}`), () => (side = side === one ? null : one), one)) : [];
    // In the panel the cards above one area's table filter by group; on the whole screen, and of two areas, there are none.
    const grouped = pair || !node.contains(inner) ? Object.keys(GROUPS) : [];
    chips.replaceChildren(...grouped.map((group) => chip(groups.has(group), t(`area.group.${group}`), () => flip(group), group)), ...sides);
    chips.hidden = !chips.childElementCount;
    const go = (words, to, possible) => {
      const one = element("button", "button small", words);
      one.type = "button";
      one.disabled = !possible;
      one.addEventListener("click", () => {
        turn(to);
        scroller.scrollTop = 0;
        announce(pager.querySelector("span").textContent);
        const [back, forth] = pager.querySelectorAll("button");
        (to > from / PAGE === !forth.disabled ? forth : back).focus();
      });
      return one;
    };
    const shown = element("span", "", t("area.table.page", { from: rows.length ? from + 1 : 0, to: Math.min(from + PAGE, rows.length), of: rows.length }));
    pager.hidden = pages < 2;
    pager.replaceChildren(go(t("area.table.back"), page - 1, page > 0), shown, go(t("area.table.forth"), page + 1, page < pages - 1));
  }

  function flip(group) {
    if (!groups.delete(group)) groups.add(group);
  }

  function header() {
    const row = element("tr");
    for (const column of columns) {
      const sort = element("button", "area-sort", t(`area.column.${column}`));
      sort.type = "button";
      sort.dataset.column = column;
      const cell = element("th", `column-${column}`, sort);
      cell.scope = "col";
      if (order.column === column) cell.setAttribute("aria-sort", order.descending ? "descending" : "ascending");
      sort.addEventListener("click", () => {
        const descending = order.column === column ? !order.descending : column !== "name" && column !== "id" && column !== "side";
        order = { column, descending };
        turn();
        announce(t(descending ? "area.table.descending" : "area.table.ascending", { column: t(`area.column.${column}`) }));
        table.querySelector(`[data-column="${column}"]`).focus();
      });
      row.append(cell);
    }
    return element("thead", "", row);
  }

  function row(species) {
    const name = element("th", "column-name");
    name.scope = "row";
    const show = element("button", "area-name");
    show.type = "button";
    show.title = t("area.table.show", { name: species.scientificName });
    show.append(element("i", "", species.scientificName));
    show.addEventListener("click", () => onShow(species.taxonID));
    name.append(show);
    if (species.vernacularName) name.append(element("span", "vernacular", species.vernacularName));
    if (species.generalised) name.append(element("span", "generalised", t("area.generalised", { km: species.generalised / 1000 })));
    const cells = {
      ...CELLS,
      coverage: () => coverage(species),
      "coverage-a": (one) => coverage(one.a),
      "coverage-b": (one) => coverage(one.b),
      difference: (one) => element("td", "number", points(one.difference)),
      side: (one) => element("td", "side", t(`area.side.${one.side}`)),
    };
    return element("tr", "", name, ...columns.slice(1).map((column) => cells[column](species)));
  }

  function footer(rows) {
    const parts = Object.entries(GROUPS).map(([group, belongs]) => {
      const told = rows.map(belongs);
      const unknown = told.filter((one) => one === null || one === undefined).length;
      const words = t(`area.footer.${group}`, { count: number(told.filter((one) => one === true).length) });
      return unknown ? `${words} ${t("area.footer.unknown", { n: unknown })}` : words;
    });
    const cell = element("td", "", [t("area.table.count", { n: rows.length }), ...parts].join(" · "));
    cell.colSpan = columns.length;
    return element("tfoot", "", element("tr", "", cell));
  }

  // The whole screen for the table: a modal dialog, which gives the focus back by itself.
  function widen() {
    if (!node.contains(inner)) return inner.closest("dialog").close();
    const dialog = element("dialog", "area-dialog");
    dialog.setAttribute("aria-label", caption());
    dialog.append(inner);
    document.body.append(dialog);
    dialog.addEventListener("close", () => {
      node.append(inner);
      dialog.remove();
      draw();
      enlarge.focus();
    });
    dialog.showModal();
    draw();
  }

  return {
    node,
    set(list) {
      species = list;
      turn();
    },
    refresh: draw,
    toggle(group) {
      flip(group);
      turn();
      announce(status.textContent);
    },
    groups,
  };
}

// Yes, no or not known, in a sign and in words.
function answer(value) {
  if (value === null || value === undefined) return unknown();
  return element("td", value ? "yes" : "no", t(value ? "area.yes" : "area.no"));
}

function unknown() {
  const dash = element("span", "", NONE);
  dash.setAttribute("aria-hidden", "true");
  return element("td", "unknown", dash, element("span", "unseen", t("area.unknown")));
}

function category(code) {
  if (!code) return unknown();
  return element("td", "", iucnBadge(code));
}

function coverage(species) {
  if (!species) return element("td", "number none", element("span", "", t("area.table.not-found")));
  const cell = element("td", "column-coverage", element("span", "share", share(species.coverage)));
  const bar = element("span", "bar");
  bar.setAttribute("aria-hidden", "true");
  bar.style.setProperty("--share", species.coverage);
  if (species.low !== null && species.low !== undefined) {
    bar.style.setProperty("--low", species.low);
    bar.style.setProperty("--high", species.high);
    bar.classList.add("ranged");
    cell.append(element("span", "area-range", t("area.range", { low: share(species.low), high: share(species.high) })));
  }
  cell.append(bar);
  return cell;
}

// 0.1234 -> "12.3 %": a tenth of a per cent of 10 km2 is four cells
export function share(value) {
  return t("area.percent", { value: number(value * 100, 1) });
}

function points(value) {
  const sign = value > 0 ? "+" : "";
  return t("area.points", { value: `${sign}${number(value * 100, 1)}` });
}
