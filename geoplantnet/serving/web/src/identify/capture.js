// Photos of a plant, what each shows, and where it grows.
import { announce } from "../announce.js";
import { button, element } from "../dom.js";
import { date, number, t } from "../i18n.js";
import { parseCoordinates } from "../coordinates.js";
import { offers } from "./config.js";
import { notice, radio } from "./parts.js";
import { createMiniMap } from "./minimap.js";
import { MOST, ORGANS, PhotoError, readPhoto } from "./photos.js";
import { UNSERVED, addPhotos, countWaiting, forgetWaiting, identify, onSession, removePhoto, sendWaiting, session, setOrgan, setPlace, startAnew, stopAsking, takeUp, unanswered, waitForNetwork } from "./session.js";

export function showCapture(root, { signal }) {
  const title = element("h1", "", t("capture.title"));
  const complaint = element("div", "complaints");
  complaint.setAttribute("role", "alert");
  const photos = element("ol", "photos");
  const place = element("fieldset", "place card");
  const waiting = element("section", "waiting");
  const go = button("strong big", t("capture.go"), run);
  const stop = button("big", t("cancel"), stopAsking);
  const take = picker({ words: t("capture.take"), icon: "camera", capture: true });
  const choose = picker({ words: t("capture.choose"), icon: "files", capture: false });
  const intake = element("div", "intake", take.label, choose.label);
  const anew = button("plain small", t("capture.anew"), async () => {
    await startAnew();
    complaint.replaceChildren();
    draw();
    take.input.focus();
  });
  let refused = null;

  for (const { input } of [take, choose]) {
    input.addEventListener("change", () => {
      receive([...input.files]);
      input.value = ""; // the same file may be chosen again
    });
  }
  document.addEventListener("dragover", (event) => event.preventDefault(), { signal });
  document.addEventListener(
    "drop",
    (event) => {
      event.preventDefault();
      receive([...event.dataTransfer.files]);
    },
    { signal },
  );
  document.addEventListener("paste", (event) => event.clipboardData.files.length && receive([...event.clipboardData.files]), { signal });

  root.append(
    title,
    element("p", "lede", t("capture.lede", { most: MOST })),
    waiting,
    intake,
    complaint,
    photos,
    place,
    element("div", "go", go, stop),
    anew,
    element("p", "faint small", t("capture.privacy")),
  );
  onSession(() => {
    drawWaiting();
    drawAsking();
    if (session.refusal !== refused) drawRefusal();
  }, signal);
  draw();
  drawRefusal();
  countWaiting();
  return t("capture.title");

  async function receive(files) {
    complaint.replaceChildren();
    if (!files.length) return;
    const read = [];
    const errors = [];
    for (const file of files) {
      try {
        read.push(await readPhoto(file));
      } catch (error) {
        errors.push(t(`photo.${error instanceof PhotoError ? error.kind : "unreadable"}`, { name: file.name }));
      }
    }
    const over = addPhotos(read);
    if (over) errors.push(t("photo.many", { n: over, most: MOST }));
    complaint.append(...errors.map((words) => notice("bad", words)));
    draw();
    if (read.length) announce(t("photo.have", { n: session.photos.length }));
  }

  function draw() {
    photos.replaceChildren(...session.photos.map(photoItem));
    photos.hidden = !session.photos.length;
    const full = session.photos.length >= MOST;
    for (const { input, label } of [take, choose]) {
      input.disabled = full;
      label.classList.toggle("disabled", full);
    }
    intake.classList.toggle("started", session.photos.length > 0);
    anew.hidden = !session.photos.length;
    place.hidden = !session.photos.length || !(offers().places || offers().store);
    drawPlace();
    drawAsking();
  }

  // Asking goes on while the reader looks elsewhere; an answer stays one until photos or place change.
  function drawAsking() {
    go.disabled = !session.photos.length || session.asking !== null;
    go.textContent = t(session.asking ? "capture.going" : session.answer ? "capture.answered" : "capture.go");
    stop.hidden = !session.asking;
  }

  function photoItem(photo, i) {
    const image = element("img");
    image.src = photo.url;
    image.alt = t("photo.alt", { n: i + 1, number: i + 1, name: photo.name });
    const select = element("select");
    select.id = `${photo.id}-organ`;
    for (const organ of ORGANS) {
      const option = element("option", "", t(`organ.${organ}`));
      option.value = organ;
      option.selected = organ === photo.organ;
      select.append(option);
    }
    select.addEventListener("change", () => setOrgan(photo, select.value));
    const label = element("label", "small", t("photo.shows"));
    label.htmlFor = select.id;
    const remove = button("icon", "✕", () => {
      removePhoto(photo);
      complaint.replaceChildren();
      draw();
      announce(t("photo.have", { n: session.photos.length }));
      (photos.querySelectorAll("button")[Math.min(i, session.photos.length - 1)] ?? take.input).focus();
    });
    remove.setAttribute("aria-label", t("photo.remove", { number: i + 1 }));
    const taken = photo.taken ? element("p", "faint small", t("photo.taken", { date: date(photo.taken, "medium") })) : null;
    return element("li", "card", element("div", "frame", image, remove), element("div", "field", label, select), taken);
  }

  function drawPlace() {
    const exif = session.photos.find((photo) => photo.place)?.place ?? null;
    if (session.placeFrom === "photo" && !exif) setPlace(null, "none");
    const extra = element("div", "extra");
    const told = element("p", "faint small");
    const choose = (from) => {
      extra.replaceChildren();
      setPlace(from === "photo" ? exif : from === "none" ? null : session.place, from);
      tellPlace();
      if (from === "device") locate();
      if (from === "typed") type();
      if (from === "map") onMap();
    };
    const put = (found) => {
      setPlace(found, session.placeFrom);
      tellPlace();
    };
    const tellPlace = () => {
      const { place: found, placeFrom } = session;
      told.textContent = found ? t("place.told", { at: written(found) }) : placeFrom === "none" ? t("place.none-told") : "";
    };
    const radios = [
      radio("place", "none", t("place.none"), session.placeFrom, choose),
      exif && radio("place", "photo", t("place.photo", { at: written(exif) }), session.placeFrom, choose),
      "geolocation" in navigator && radio("place", "device", t("place.device"), session.placeFrom, choose),
      radio("place", "typed", t("place.typed"), session.placeFrom, choose),
      offers().maps && radio("place", "map", t("place.map"), session.placeFrom, choose),
    ].filter(Boolean);
    place.replaceChildren(element("legend", "", t("place.title")), element("p", "small", t(!offers().places ? "place.why-contribute" : exif ? "place.ask" : "place.why")), ...radios, extra, told);
    tellPlace();
    if (session.placeFrom === "device" && !session.place) told.textContent = t("place.looking");
    if (session.placeFrom === "typed") type();
    if (session.placeFrom === "map") onMap();

    function locate() {
      told.textContent = t("place.looking");
      navigator.geolocation.getCurrentPosition(
        ({ coords }) => {
          if (session.placeFrom !== "device") return;
          put({ longitude: coords.longitude, latitude: coords.latitude });
          if (!told.isConnected) drawPlace(); // photos came meanwhile: this fieldset was drawn anew
        },
        ({ code, PERMISSION_DENIED }) => {
          if (session.placeFrom !== "device") return;
          if (!told.isConnected) {
            setPlace(null, "none");
            drawPlace();
          } else told.textContent = t(code === PERMISSION_DENIED ? "place.denied" : "place.not-found");
        },
        { enableHighAccuracy: true, timeout: 20_000 },
      );
    }

    function type() {
      const input = element("input");
      Object.assign(input, { type: "text", id: "place-typed", inputMode: "text", autocomplete: "off", placeholder: "46.4812, 8.0123" });
      if (session.place) input.value = `${session.place.latitude.toFixed(4)}, ${session.place.longitude.toFixed(4)}`;
      const label = element("label", "small", t("place.coordinates"));
      label.htmlFor = input.id;
      input.setAttribute("aria-describedby", "place-told");
      input.addEventListener("input", () => {
        const { lonLat, error } = input.value.trim() ? parseCoordinates(input.value, { french: document.documentElement.lang === "fr" }) : {};
        put(lonLat ? { longitude: lonLat[0], latitude: lonLat[1] } : null);
        input.setAttribute("aria-invalid", String(Boolean(input.value.trim()) && !lonLat));
        if (input.value.trim() && !lonLat) told.textContent = t(error === "coordinates.range" ? "place.range" : "place.unreadable");
      });
      told.id = "place-told";
      extra.append(element("div", "field", label, input));
    }

    function onMap() {
      extra.append(createMiniMap({ at: session.place, onPlace: put, signal }));
    }
  }

  async function run() {
    complaint.replaceChildren();
    if (!session.answer) {
      announce(t("capture.going"));
      if (!(await identify())) return; // `drawRefusal` of whichever view is shown then
      if (document.documentElement.dataset.view !== "identify") return announce(t("capture.ready"));
    }
    location.hash = "#answer";
  }

  function drawRefusal() {
    const { refusal } = session;
    refused = refusal;
    if (!refusal) return;
    const box = notice("bad", refusal.message);
    if (UNSERVED.includes(refusal.kind)) {
      box.append(
        element("div", "row", button("strong", t("waiting.keep"), async () => {
          try {
            await waitForNetwork();
          } catch {
            complaint.replaceChildren(notice("bad", t("waiting.full")));
            return;
          }
          complaint.replaceChildren();
          announce(t("waiting.kept"));
          draw();
        })),
        element("p", "small", t("waiting.or")),
      );
    }
    if (refusal.kind === "key") {
      const link = element("a", "", t("error.to-settings"));
      link.href = "#settings";
      box.append(element("p", "", link));
    }
    if (refusal.kind === "refused" && refusal.detail) box.append(element("p", "small", refusal.detail));
    complaint.append(box);
    box.scrollIntoView({ block: "nearest" });
  }

  function drawWaiting() {
    waiting.hidden = !session.waiting.length;
    if (waiting.hidden) return waiting.replaceChildren();
    const items = session.waiting.map((plant) => {
      const image = element("img");
      image.src = URL.createObjectURL(plant.photos[0].blob);
      image.alt = "";
      image.addEventListener("load", () => URL.revokeObjectURL(image.src));
      const best = plant.answer?.results?.[0];
      const words = plant.said
        ? t(best ? "waiting.said-ready" : "waiting.said", { name: plant.said.name })
        : best
          ? t("waiting.answered", { name: best.species.scientificNameWithoutAuthor })
          : plant.refusal || t("waiting.not-yet");
      const openIt = button("small", t("waiting.open"), async () => {
        await takeUp(plant);
        if (session.answer) location.hash = "#answer";
        else draw();
      });
      const forget = button("small", t("waiting.forget"), () => forgetWaiting(plant.id));
      return element("li", "", image, element("p", "", element("strong", "", date(plant.at, "medium")), " · ", t("photo.count", { n: plant.photos.length }), element("br"), words), element("div", "row", openIt, forget));
    });
    const still = session.waiting.filter(unanswered).length;
    const head = still ? t("waiting.title", { n: still }) : t("waiting.title-ready", { n: session.waiting.length });
    waiting.replaceChildren(element("h2", "", head), element("ul", "", ...items), ...(still ? [button("small", t("waiting.send"), sendWaiting)] : []));
  }
}

const written = ({ longitude, latitude }) => `${number(latitude, 4)}, ${number(longitude, 4)}`;

function picker({ words, icon, capture }) {
  const input = element("input", "unseen");
  input.type = "file";
  input.accept = "image/jpeg,image/png,image/webp,image/heic,image/*";
  if (capture) input.setAttribute("capture", "environment");
  else input.multiple = true;
  const label = element("label", `button big ${capture ? "strong" : ""} ${icon}`.trim(), input, element("span", "", words));
  return { input, label };
}
