// Photos as large as the screen allows: one at a time, or two beside each other.
import { button, element } from "../dom.js";
import { openDialog } from "../dialog.js";
import { t } from "../i18n.js";
import { addressOf, creditOf } from "./parts.js";

const STEPS = { ArrowLeft: -1, ArrowRight: 1 };

// Photos of others, of which one is looked at. images: as the API tells them; opener: where the focus returns to
export function enlarge(images, first, { title, about = "", opener }) {
  const { body } = openDialog({ id: "viewer", title, about, opener });
  const frame = createFrame();
  body.append(element("div", "pair single", frame.figure));
  stepsByArrows(body, frame);
  draw(first);

  function draw(i) {
    const words = t("photo.of", { organ: t(`organ.${images[i].organ || "other"}`), number: i + 1, of: images.length });
    frame.show(addressOf(images[i].url.o ?? images[i].url.m), words, creditOf(images[i]), i, images.length, draw);
  }
}

// The arrow keys go through a frame's photos wherever in the dialog the focus is.
export function stepsByArrows(body, frame) {
  body.closest("dialog").addEventListener("keydown", (event) => {
    if (!(event.key in STEPS) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    frame.step(STEPS[event.key]);
  });
}

// A photo with its words and the ways to those beside it.
export function createFrame() {
  const image = element("img");
  const words = element("p", "small");
  const credit = element("p", "faint small credit");
  let step = () => {};
  const before = button("icon", "‹", () => step(-1));
  const after = button("icon", "›", () => step(1));
  words.setAttribute("aria-live", "polite");
  return {
    figure: element("figure", "", element("div", "frame", image), element("figcaption", "", element("div", "", words, credit), before, after)),
    step: (way) => step(way),
    show(url, told, by, i, n, go) {
      image.src = url;
      image.alt = told;
      words.textContent = told;
      credit.textContent = by;
      step = (way) => n > 1 && go((i + way + n) % n);
      for (const [node, key] of [[before, "compare.before"], [after, "compare.after"]]) {
        node.hidden = n < 2;
        node.setAttribute("aria-label", t(key));
      }
    },
    say(told) {
      words.textContent = told;
      image.hidden = before.hidden = after.hidden = true;
    },
  };
}

// Photos in a list, each of which can be seen large. size: "s" or "m" of what the API tells
export function pictureOf(images, i, { title, about, size = "m", eager = false }) {
  const image = images[i];
  const organ = t(`organ.${image.organ || "other"}`);
  const picture = element("img");
  Object.assign(picture, { src: addressOf(image.url[size] ?? image.url.m ?? image.url.o), alt: "", loading: eager ? "eager" : "lazy", decoding: "async" });
  const opener = element("button", "", picture, element("span", "caption", organ));
  opener.type = "button";
  opener.setAttribute("aria-label", t("photo.enlarge", { number: i + 1, organ }));
  opener.addEventListener("click", () => enlarge(images, i, { title, about, opener }));
  return element("li", "", opener, element("span", "credit", creditOf(image)));
}
