// What the data show of a species: its names, and the months, altitudes and years of the records the model learnt from.
import { asTable, columns, joined, rows } from "./charts.js";
import { list, openDialog, pairs, section } from "./dialog.js";
import { button, element } from "./dom.js";
import { kilometres } from "./format.js";
import { has, lang, languageName, monthName, number, t } from "./i18n.js";
import { skeleton } from "./layers.js";
import { ServerError, getJson } from "./server.js";

let log = false; // the scale last chosen stays chosen

// taxon: a taxon id; name: of the species; opener: the button the focus returns to.
export function showRecords(taxon, name, opener) {
  const { body, signal } = openDialog({ id: "records", title: t("records.title"), about: name, opener });
  fill(taxon, body, signal);
}

async function fill(taxon, body, signal) {
  body.replaceChildren(skeleton(6));
  try {
    const told = await getJson(`./api/species/${encodeURIComponent(taxon)}/records?lang=${lang()}`, { signal });
    body.replaceChildren(...sections(told));
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof ServerError)) throw error;
    body.replaceChildren(element("p", "problem", error.message), button("", t("retry"), () => fill(taxon, body, signal)));
  }
}

function sections(told) {
  const why = (what) => told.missing.filter((one) => one.what === what).map(({ text }) => element("p", "faint", text));
  const out = [];
  if (told.generalised) out.push(element("p", "notice-of", sensitiveWords(told.generalised)));
  out.push(section(t("records.names"), ...(told.names.length ? [names(told.names)] : []), ...why("names")));
  if (!told.records) out.push(section(t("records.count"), ...why("records")));
  else {
    out.push(section(t("records.count"), summary(told), ...why("years"), ...why("datasets")));
    out.push(...charts(told, why));
    out.push(section(t("records.careful"), list(told.notes, "caveats")));
  }
  const credit = [...told.attribution, t("records.licence", { licence: told.licence })];
  out.push(element("p", "faint small", credit.join(" · ")));
  return out;
}

function sensitiveWords({ metres }) {
  return metres ? t("records.sensitive", { km: kilometres(metres) }) : t("records.sensitive.part");
}

// Names by language, the reader's first.
function names(all) {
  const by = new Map([[lang(), []], ["en", []], ["fr", []]]);
  for (const one of all) {
    const key = one.language ?? "";
    by.set(key, [...(by.get(key) ?? []), one]);
  }
  const told = [...by].filter(([, some]) => some.length).map(([language, some]) => [language ? languageName(language) : t("records.language.unknown"), written(some, language)]);
  const sources = [...new Set(all.map(({ source }) => source))];
  return element("div", "", pairs(told), element("p", "faint small", t("records.names.from", { sources: sources.join("; ") })));
}

function written(some, language) {
  const node = element("span");
  some.forEach(({ name, source }, i) => {
    const one = element("span", "", name);
    one.lang = language;
    one.title = source;
    node.append(i ? ", " : "", one);
  });
  return node;
}

function summary({ records, sampling, years, datasets }) {
  const facts = [[t("records.all"), number(records)]];
  for (const { basis, count } of sampling) facts.push([has(`records.basis.${basis}`) ? t(`records.basis.${basis}`) : basis, number(count)]);
  if (years) {
    const span = years.first === years.last ? String(years.first) : t("records.years.span", { first: String(years.first), last: String(years.last) });
    facts.push([t("records.years"), years.unknown ? `${span} (${t("records.years.unknown", { n: years.unknown })})` : span]);
  }
  if (datasets?.length) facts.push([t("records.datasets"), datasets.map(({ datasetID, count }) => `${datasetID} (${number(count)})`).join(", ")]);
  return pairs(facts);
}

// Months and altitudes, with one switch between a linear and a logarithmic scale for both.
function charts({ months, altitudes }, why) {
  const byMonth = section(t("records.months"));
  const byAltitude = section(t("records.altitudes"));
  const drawn = (altitudes?.classes.length ?? 0) > 0;
  const choice = scaleChoice(draw);
  draw();
  return [...(months || drawn ? [choice] : []), byMonth, byAltitude];

  function draw() {
    byMonth.replaceChildren(byMonth.firstChild, ...(months ? monthChart(months) : why("months")));
    byAltitude.replaceChildren(byAltitude.firstChild, ...(drawn ? altitudeChart(altitudes) : []), ...why("altitudes"));
  }
}

function scaleChoice(draw) {
  const choice = element("fieldset", "segments scale-choice", element("legend", "unseen", t("records.scale")));
  for (const [value, key] of [[false, "records.scale.linear"], [true, "records.scale.log"]]) {
    const input = element("input");
    Object.assign(input, { type: "radio", name: "records-scale", checked: log === value });
    input.addEventListener("change", () => {
      log = value;
      draw();
    });
    choice.append(element("label", "", input, element("span", "", t(key))));
  }
  return choice;
}

function monthChart({ counts, unknown }) {
  const bars = counts.map((count, i) => ({ short: monthName(i, "narrow"), name: monthName(i), count }));
  const most = bars.reduce((best, one) => (one.count > best.count ? one : best));
  const told = { caption: t("records.months"), heads: [t("records.month"), t("records.count")] };
  const label = t("records.months.label", { month: most.name, n: most.count });
  return [columns(bars, log, label), asTable(bars, told), unknown ? element("p", "faint small", t("records.months.unknown", { n: unknown })) : ""];
}

function altitudeChart({ classes, imprecise, unknown }) {
  const bars = joined(classes).map(({ from, to, count }) => ({ name: t("records.altitude", { from, to }), count }));
  const told = { caption: t("records.altitudes"), heads: [t("records.altitudes"), t("records.count")] };
  const left = imprecise + unknown;
  return [rows(bars.reverse(), log, told), left ? element("p", "faint small", t("records.altitudes.unknown", { n: left })) : ""];
}
