// The reader says what it is: it stays private, unless they give it to everybody under a licence.
import { announce } from "../announce.js";
import { button, element } from "../dom.js";
import { openDialog } from "../dialog.js";
import { t } from "../i18n.js";
import { belowName, idOf, link, mayContribute, nameOf } from "./answer.js";
import { contribute, newKey } from "./api.js";
import { offers } from "./config.js";
import { createFinder } from "./finder.js";
import { choices, field, notice, radio, scientific } from "./parts.js";
import { prefs } from "./prefs.js";
import { markGiven, session, startAnew, waitForNetwork } from "./session.js";

// A species of the reader's own finding, where the answer does not hold it.
export function nameSpecies(opener) {
  const { body, signal } = openDialog({ id: "name-it", title: t("name.title"), about: "", opener });
  const dialog = body.closest("dialog");
  const finder = createFinder({
    signal,
    words: t("review.which"),
    onPick: (species) => {
      dialog.close();
      confirmSpecies({ taxonID: species.id, species }, opener);
    },
  });
  body.append(element("p", "small", t("name.why")), finder.node);
  finder.input.focus();
}

export function confirmSpecies(result, opener) {
  const { body, signal } = openDialog({ id: "confirm", title: t("confirm.title", { name: nameOf(result) }), about: belowName(result), opener });
  const dialog = body.closest("dialog");
  const extra = element("div", "stack");
  const id = idOf(result);
  const open = mayContribute() && id !== null && !session.given;
  const later = session.answer.offline && offers().store && id !== null;
  let way = "private";

  const pick = (wanted) => {
    way = wanted;
    extra.replaceChildren();
    done.disabled = false;
    done.textContent = t(way === "share" ? "confirm.give" : "confirm.done");
    if (way === "share") drawForm();
  };
  const done = button("strong big", t("confirm.done"), finish);
  const group = element("fieldset", "", element("legend", "", t("confirm.what")), radio("way", "private", t("confirm.private"), way, pick));
  if (open) group.append(radio("way", "share", t("confirm.share"), way, pick));
  if (later) group.append(radio("way", "wait", t("confirm.wait"), way, pick));
  if (result.species.scientificNameAuthorship) body.append(element("p", "", scientific(result.species)));
  body.append(group);
  if (session.given) body.append(notice("good", t("answer.given"), link("#own", t("own.title"), "")));
  else if (!open && !later) body.append(element("p", "faint small", t(session.answer.offline ? "confirm.offline" : "confirm.no-store")));
  body.append(extra, element("div", "go", done));

  const key = newKey();
  let form = null;
  function drawForm() {
    if (!prefs.get().key) {
      extra.append(notice("mind", t("confirm.needs-key"), link("#settings", t("error.to-settings"), "")));
      done.disabled = true;
      return;
    }
    done.disabled = false;
    const { licences } = offers();
    const license = choices(licences.map((one) => [one, licenceName(one)]), prefs.get().licence || licences.find((one) => one === USUAL) || licences[0]);
    const author = Object.assign(element("input"), { type: "text", value: prefs.get().author, autocomplete: "name", maxLength: 120 });
    const day = Object.assign(element("input"), { type: "date", value: session.photos.find((photo) => photo.taken)?.taken ?? "", max: today() });
    form = { license, author, day };
    extra.append(
      field(t("confirm.license"), license),
      field(t("confirm.author"), author, t("confirm.author-help")),
      field(t("confirm.day"), day, day.value ? "" : t("confirm.day-help")),
      notice("mind", t(session.place ? "confirm.with-place" : "confirm.without-place", session.place ? { at: `${session.place.latitude.toFixed(4)}, ${session.place.longitude.toFixed(4)}` } : {})),
    );
  }

  async function finish() {
    if (way === "private") {
      dialog.close();
      document.querySelector(".said-private")?.remove();
      const said = notice("good", t("confirm.kept-private"));
      said.classList.add("said-private");
      document.querySelector("#view h1")?.after(said);
      announce(t("confirm.kept-private"));
      return;
    }
    if (way === "wait") return wait();
    extra.querySelector('[role="alert"]')?.remove();
    prefs.set({ author: form.author.value, licence: form.license.value });
    done.disabled = true;
    done.textContent = t("confirm.giving");
    try {
      const told = { species: id, license: form.license.value, author: form.author.value, date: form.day.value, lat: session.place?.latitude.toFixed(4) ?? null, lon: session.place?.longitude.toFixed(4) ?? null, "no-reject": session.answer.reject === false ? "true" : null, key };
      await contribute(session.photos, told);
      markGiven();
      document.querySelector(".kept")?.replaceChildren(t("answer.given"), " ", link("#own", t("own.title"), ""));
      if (signal.aborted) return;
      const next = button("strong", t("answer.next"), async () => {
        dialog.close();
        await startAnew();
        location.hash = "#identify";
      });
      const thanks = element("p", "", t("confirm.thanks"));
      thanks.tabIndex = -1;
      body.replaceChildren(notice("good", thanks), element("p", "small", t("confirm.thanks-more"), " ", link("#own", t("own.title"), "")), element("div", "go", next));
      thanks.focus();
      announce(thanks.textContent);
    } catch (error) {
      complain(error.message, error.detail);
      done.disabled = false;
      done.textContent = t("confirm.give");
    }
  }

  async function wait() {
    try {
      await waitForNetwork({ said: { id, name: result.species.scientificNameWithoutAuthor } });
    } catch {
      return complain(t("waiting.full"));
    }
    dialog.close();
    location.hash = "#identify";
    announce(t("waiting.kept"));
  }

  function complain(words, detail = "") {
    const box = notice("bad", words, ...(detail ? [element("p", "small", detail)] : []));
    box.setAttribute("role", "alert");
    extra.append(box);
  }
}

const NAMES = { "cc-by-sa": "CC BY-SA 4.0", "cc-by": "CC BY 4.0", "cc-by-nc": "CC BY-NC 4.0", "cc-by-nc-sa": "CC BY-NC-SA 4.0", cc0: "CC0 1.0" };
const USUAL = "cc-by-sa"; // who gives more away does so knowingly
const licenceName = (code) => NAMES[code] ?? code;
const today = () => new Date(Date.now() - new Date().getTimezoneOffset() * 60_000).toISOString().slice(0, 10);
