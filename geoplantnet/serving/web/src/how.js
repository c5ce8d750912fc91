// "How was this made?": what a layer was made from, how well it did, and what to mind, in a dialog.
import { list, openDialog, pairs, section } from "./dialog.js";
import { button, element } from "./dom.js";
import { kilometres, told } from "./format.js";
import { date, lang, number, t } from "./i18n.js";
import { skeleton } from "./layers.js";
import { ServerError, getJson } from "./server.js";

// scenario: of which map, null for today's; opener: the button the focus returns to.
export function showHow(layer, scenario, opener) {
  if (!layer) return;
  const { body, signal } = openDialog({ id: "how", title: t("how.title"), about: told(layer).title, opener });
  fill(layer, scenario, body, signal);
}

async function fill(layer, scenario, body, signal) {
  body.replaceChildren(skeleton(6));
  try {
    const how = await getJson(`./api/layers/${encodeURIComponent(layer.id)}/how?lang=${lang()}${scenario ? `&scenario=${encodeURIComponent(scenario)}` : ""}`, { signal });
    body.replaceChildren(...sections(told(layer), how));
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof ServerError)) throw error;
    const known = layer.description ? [section(t("how.description"), element("p", "", told(layer).description))] : [];
    body.replaceChildren(...known, element("p", "problem", error.message), button("", t("retry"), () => fill(layer, scenario, body, signal)));
  }
}

// What is not known is left out.
function sections(layer, how) {
  const out = [];
  const put = (title, ...content) => out.push(section(title, ...content));
  if (layer.description) put(t("how.description"), element("p", "", layer.description));
  if (how.caveats?.length) put(t("how.caveats"), list(how.caveats, "caveats"));
  if (how.generalised) {
    const { metres, reason, category } = how.generalised;
    put(t("how.generalised"), element("p", "", t("how.generalised.text", { km: kilometres(metres), reason: reason || category || "" })));
  }
  if (how.inputs?.length) {
    put(t("how.inputs"), list(how.inputs.map(({ title, detail }) => element("span", "", element("b", "", title), detail ? ` – ${detail}` : ""))));
  }
  const counts = Object.entries(how.records ?? {}).filter(([key, n]) => n !== null && n !== undefined && ["presence_only", "presence_absence", "plots"].includes(key));
  if (counts.length) put(t("how.records"), pairs(counts.map(([key, n]) => [t(`how.records.${key}`), number(n)])));
  if (how.threshold_rule) put(t("how.threshold"), element("p", "", how.threshold_rule));
  const skills = (how.skill ?? []).filter(({ value }) => value !== null && value !== undefined);
  if (skills.length) put(t("how.skill"), pairs(skills.map(({ name, value, unit, of }) => [[name, of].filter(Boolean).join(", "), `${typeof value === "number" ? number(value, Number.isInteger(value) ? 0 : 3) : value}${unit && unit !== "1" ? ` ${unit}` : ""}`])));
  const facts = [];
  if (how.model?.name) {
    const members = how.model.members ? ` (${t("how.members", { n: how.model.members })})` : "";
    facts.push([t("how.model"), `${[how.model.name, how.model.version].filter(Boolean).join(" ")}${members}`]);
  }
  if (how.period?.start) facts.push([t("how.period"), t("how.period.text", { start: date(how.period.start), end: date(how.period.end) })]);
  if (how.date) facts.push([t("how.date"), date(how.date)]);
  if (how.licence) facts.push([t("how.licence"), how.licence]);
  if (how.attribution) facts.push([t("how.attribution"), how.attribution]);
  if (how.software) facts.push([t("how.software"), how.software]);
  if (how.catalog_version) facts.push([t("how.catalog"), how.catalog_version.slice(0, 12)]);
  if (facts.length) put(t("how.facts"), pairs(facts));
  return out;
}
