// The Here tab: a place asked about by click, cross-hair, coordinates or position, and what is predicted there.
import { announce } from "./announce.js";
import { at, button, element } from "./dom.js";
import { speciesLayer } from "./catalog.js";
import { parseCoordinates } from "./coordinates.js";
import { classCode, className, decimalsOf, kilometres, lengthText, placeText, told, unitSymbol } from "./format.js";
import { lang, number, onLanguage, percent, t, translate } from "./i18n.js";
import { skeleton } from "./layers.js";
import { swatch } from "./legend.js";
import { remember } from "./recents.js";
import { ServerError, getJson } from "./server.js";
import { state } from "./state.js";
import { iucnBadge, marks, taxonName } from "./taxon.js";

const LIMIT = 200; // species asked for
const FIRST = 12; // species shown before "more"
const THREAT = ["EX", "EW", "CR", "EN", "VU", "NT", "LC", "DD", "NE"];

// choose(layerId); onRead(answer | null): what the legend points at
export function createHere({ catalog, map, choose, onRead }) {
  const panel = at("here-panel");
  panel.innerHTML = `
    <h2 data-t="here.title"></h2>
    <form id="here-form" class="here-form" novalidate>
      <label for="coordinates" data-t="here.coordinates"></label>
      <div class="field-row">
        <input id="coordinates" type="text" inputmode="text" autocomplete="off" spellcheck="false" data-t-placeholder="here.coordinates.example"
               aria-describedby="coordinates-help coordinates-answer">
        <button type="submit" class="button strong" data-t="here.go"></button>
        <button id="locate" type="button" class="button icon" data-t-label="here.locate" data-t-title="here.locate">
          <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><circle cx="8" cy="8" r="4.5"/><path d="M8 1v3M8 12v3M1 8h3M12 8h3"/></svg>
        </button>
      </div>
      <p id="coordinates-help" class="small faint" data-t="here.coordinates.help"></p>
      <p id="coordinates-answer" class="small"></p>
    </form>
    <div id="here-result" tabindex="-1"></div>`;
  translate(panel);
  const result = at("here-result");
  const answerLine = at("coordinates-answer");
  let asking = new AbortController();
  let answer = null;
  let choice = { presentOnly: false, order: "probability", all: false };

  at("here-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const read = parseCoordinates(at("coordinates").value, { french: lang() === "fr" });
    if (read.error) {
      const values = { ...read.values };
      if (values.axis) values.axis = t(`coordinates.${values.axis}`);
      return complain(t(read.error, values));
    }
    const lonLat = read.lonLat ?? map.lonLat(read.metres);
    const words = read.metres
      ? t("coordinates.read.metres", { easting: number(read.metres[0]), northing: number(read.metres[1]), place: placeText(lonLat) })
      : placeText(lonLat);
    understood(t("here.understood", { place: words }));
    goTo(lonLat);
  });
  at("locate").addEventListener("click", () => {
    if (!window.isSecureContext || !navigator.geolocation) return complain(t("here.locate.insecure"), false);
    understood(t("here.locating"));
    navigator.geolocation.getCurrentPosition(
      ({ coords }) => {
        const lonLat = [coords.longitude, coords.latitude];
        understood(t("here.understood", { place: placeText(lonLat) }));
        goTo(lonLat);
      },
      ({ code }) => complain(t(code === 1 ? "here.locate.denied" : "here.locate.failed"), false),
      { timeout: 15_000 },
    );
  });

  function goTo(lonLat) {
    map.view.setCenter(map.coordinate(lonLat));
    if (map.view.getResolution() > 100) map.view.setResolution(50);
    state.set({ place: lonLat, tab: "here" });
  }

  function complain(words, ofField = true) {
    answerLine.className = "small problem";
    answerLine.textContent = words;
    if (ofField) {
      at("coordinates").setAttribute("aria-invalid", "true");
      at("coordinates").focus();
    }
    announce(words);
  }

  function understood(words) {
    answerLine.className = "small";
    answerLine.textContent = words;
    at("coordinates").removeAttribute("aria-invalid");
  }

  async function read() {
    const { place, scenario } = state.get();
    asking.abort();
    at("here-form").classList.toggle("asked", Boolean(place));
    map.mark(place && map.coordinate(place));
    if (!place) {
      answer = null;
      onRead(null);
      return draw();
    }
    asking = new AbortController();
    const { signal } = asking;
    result.setAttribute("aria-busy", "true");
    result.replaceChildren(element("p", "faint", t("here.reading", { place: placeText(place) })), skeleton(6));
    const query = new URLSearchParams({ lon: place[0].toFixed(6), lat: place[1].toFixed(6), limit: LIMIT, lang: lang() });
    if (scenario) query.set("scenario", scenario);
    try {
      answer = await getJson(`./api/here?${query}`, { signal });
      choice.all = false;
      draw();
      if (panel.clientHeight < 520) panel.scrollTop = result.offsetTop - 8; // little room: the answer before the form
      onRead(answer);
      announce(answer.state === "ok" ? t("here.done", { place: placeText(place), n: answer.count }) : t(answer.state === "outside" ? "here.outside" : "here.no-data"));
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ServerError)) throw error;
      answer = null;
      onRead(null);
      result.replaceChildren(element("div", "state", element("p", "problem", t("here.failed")), element("p", "small", error.message), button("", t("retry"), again)));
      announce(`${t("here.failed")} ${error.message}`);
    } finally {
      if (!signal.aborted) result.removeAttribute("aria-busy");
    }
  }

  // The button goes away with what it stands in: the focus stays where the answer comes.
  function again() {
    result.focus();
    read();
  }

  function draw() {
    const { place } = state.get();
    if (!place) {
      result.replaceChildren(element("div", "state", element("p", "", t("here.intro"))));
      return;
    }
    if (!answer) return;
    if (answer.state !== "ok") {
      const outside = answer.state === "outside";
      result.replaceChildren(
        placeHead(),
        element(
          "div",
          "state",
          element("p", "state-title", t(outside ? "here.outside" : "here.no-data")),
          element("p", "", t(outside ? "here.outside.text" : "here.no-data.text")),
          outside ? button("", t("here.outside.go"), () => map.fitAll()) : null,
        ),
      );
      return;
    }
    result.replaceChildren(
      placeHead(),
      ...(answer.applicable === false ? [element("p", "warning", t("here.extrapolation"))] : []),
      ...(answer.habitat ? [habitat()] : []),
      species(),
      ...(answer.indicators?.length ? [indicators()] : []),
      ...(answer.records?.state === "ok" ? [records()] : []),
    );
  }

  function placeHead() {
    const { lon, lat } = answer.place ?? { lon: state.get().place[0], lat: state.get().place[1] };
    const epoch = catalog.epochs.length > 1 && answer.epoch ? catalog.epochTitle(answer.epoch.name) : "";
    const cell = answer.cell ? t("here.cell", { size: answer.cell.size }) : "";
    const head = element(
      "div",
      "place-head",
      element("h3", "place", placeText([lon, lat])),
      element("p", "small faint", [cell, epoch].filter(Boolean).join(" · ")),
    );
    if (answer.state === "ok") head.append(element("p", "stamp", t("here.header")));
    return head;
  }

  function habitat() {
    const { layer: id, value, label } = answer.habitat;
    const classes = catalog.known(id)?.classes ?? [];
    const index = classes.findIndex((entry) => entry.value === value);
    const node = element("p", "habitat");
    if (index >= 0) node.append(swatch(classes[index], classCode({ label }, index)), " ");
    node.append(element("span", "unseen", `${t("here.habitat")}: `), element("b", "", className({ label })));
    return node;
  }

  function species() {
    const node = element("section", "here-species");
    const list = element("ol", "ranked");
    const foot = element("div", "");
    const only = element("input");
    Object.assign(only, { type: "checkbox", checked: choice.presentOnly, id: "present-only" });
    const order = element("select");
    order.id = "species-order";
    for (const key of ["probability", "name", "threat"]) {
      const option = element("option", "", t(`here.species.sort.${key}`));
      option.value = key;
      order.append(option);
    }
    order.value = choice.order;
    only.addEventListener("change", () => {
      choice.presentOnly = only.checked;
      fill();
    });
    order.addEventListener("change", () => {
      choice.order = order.value;
      fill();
    });
    const orderLabel = element("label", "unseen", t("here.species.sort"));
    orderLabel.htmlFor = order.id;
    node.append(
      element("h3", "", t("here.species.count", { n: answer.count })),
      element("div", "list-tools", element("label", "check", only, element("span", "", t("here.species.present-only"))), orderLabel, order),
      list,
      foot,
    );
    const fill = () => {
      const rows = sorted();
      const some = choice.all ? rows : rows.slice(0, FIRST);
      list.replaceChildren(...some.map(speciesRow));
      foot.replaceChildren();
      if (!rows.length) foot.append(element("p", "small", t("here.species.none")));
      if (some.length < rows.length) {
        foot.append(
          button("small", t("here.species.all", { n: rows.length }), () => {
            choice.all = true;
            fill();
            list.children[FIRST]?.querySelector("button")?.focus();
          }),
        );
      }
      const notes = [];
      if (answer.withheld) notes.push(t("here.withheld", { n: answer.withheld }));
      notes.push(t("here.members", { n: answer.members ?? 1 }));
      foot.append(element("p", "small faint", notes.join(" ")));
    };
    fill();
    return node;
  }

  function sorted() {
    const rows = answer.species.filter((one) => one.present || !choice.presentOnly);
    const threat = ({ iucn }) => (THREAT.includes(iucn) ? THREAT.indexOf(iucn) : THREAT.length);
    if (choice.order === "name") return [...rows].sort((a, b) => a.scientificName.localeCompare(b.scientificName));
    if (choice.order === "threat") return [...rows].sort((a, b) => threat(a) - threat(b) || b.probability - a.probability);
    return rows;
  }

  function speciesRow(record) {
    const item = element("li", record.present ? "present" : "absent");
    const show = button("plain", "", () => {
      remember(record);
      choose(speciesLayer(record.taxonID));
    });
    show.append(taxonName(record));
    show.title = t("here.show", { name: record.scientificName });
    const presence = element("span", "presence", element("span", `dot ${record.present ? "full" : ""}`), t(record.present ? "here.present" : "here.absent"));
    const bar = element("span", "probability");
    bar.setAttribute("aria-hidden", "true");
    const level = element("span", "level");
    level.style.width = `${100 * record.probability}%`;
    bar.append(level);
    const ranged = record.low !== null && record.low !== undefined && record.high !== null && record.high !== undefined;
    if (ranged) {
      const range = element("span", "range");
      range.style.left = `${100 * record.low}%`;
      range.style.width = `${100 * Math.max(record.high - record.low, 0.005)}%`;
      bar.append(range);
    }
    const amount = element("data", "amount", percent(record.probability));
    amount.value = String(record.probability);
    amount.dataset.taxon = record.taxonID;
    const notes = [];
    if (ranged) notes.push(t("here.range", { low: percent(record.low), high: percent(record.high) }));
    if (record.generalised) notes.push(t("here.generalised", { km: kilometres(record.generalised) }));
    item.append(
      element("div", "row-head", show, ...marks(record), iucnBadge(record.iucn)),
      element("div", "row-bar", bar, amount, presence),
      notes.length ? element("p", "row-note", notes.join(" · ")) : "",
    );
    return item;
  }

  function indicators() {
    const node = element("section", "here-indicators", element("h3", "", t("here.indicators")));
    const list = element("dl", "values");
    let level = null;
    for (const one of answer.indicators.filter(({ layer }) => layer !== answer.habitat?.layer)) {
      const layer = catalog.known(one.layer);
      const show = button("plain", told(layer ?? one).title || one.title, () => choose(one.layer));
      const digits = layer?.range ? decimalsOf(layer.range) : 2;
      const value = element("data", one.value === null ? "none" : "", one.value === null ? t("value.none") : one.label ? className(one) : number(one.value, digits));
      value.value = one.value === null ? "" : String(one.value);
      value.dataset.layer = one.layer;
      const symbol = one.label ? "" : unitSymbol({ unit: one.unit, classes: [] });
      const known = one.value !== null && !one.label && one.low !== null && one.low !== undefined && one.high !== null;
      if (known) level = one.level ?? level;
      list.append(
        element(
          "div",
          "",
          element("dt", "", show),
          element(
            "dd",
            "",
            value,
            one.value !== null && symbol ? element("span", "symbol", ` ${symbol}`) : null,
            known ? element("span", "interval", `[${t("here.indicator.interval", { low: number(one.low, digits), high: number(one.high, digits) })}]`) : null,
          ),
        ),
      );
    }
    node.append(list);
    if (level) node.append(element("p", "small faint", t("here.indicator.level", { level: percent(level) })));
    return node;
  }

  function records() {
    const node = element("section", "here-records", element("h3", "", t("here.records")));
    const { nearest } = answer.records;
    if (!nearest?.length) node.append(element("p", "small faint", t("here.records.none")));
    else {
      node.append(
        element(
          "ul",
          "records",
          ...nearest.map((one) => {
            const when = [one.year ? String(one.year) : null, t("here.record.away", { distance: lengthText(Math.round(one.distance_m)) })].filter(Boolean).join(", ");
            const square = one.square_m ? `, ${t("here.record.square", { square: lengthText(one.square_m) })}` : "";
            return element("li", "", element("i", "taxon", one.scientificName), element("span", "small faint", ` ${when}${square}`));
          }),
        ),
      );
    }
    return node;
  }

  onLanguage(() => {
    answerLine.textContent = "";
    state.get().place ? read() : draw();
  });
  return { read };
}
