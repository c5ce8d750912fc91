// The own photo beside one of a candidate, as large as the screen allows.
import { button, element } from "../dom.js";
import { openDialog } from "../dialog.js";
import { t } from "../i18n.js";
import { belowName, imagesOf, nameOf, organOf } from "./answer.js";
import { addressOf, creditOf } from "./parts.js";
import { session } from "./session.js";

// shown: which of the own photos; first: which of the candidate's; opener: where the focus returns to
export function compare(result, shown, first, opener) {
  const { body } = openDialog({ id: "compare", title: nameOf(result), about: belowName(result), opener });
  let own = shown;
  let other = first;
  const left = side();
  const right = side();
  body.append(element("div", "pair", left.figure, right.figure));
  draw();

  function draw() {
    const photos = session.photos;
    const images = imagesOf(result, own);
    left.show(photos[own].url, t("compare.own", { number: own + 1, organ: t(`organ.${organOf(own)}`) }), "", own, photos.length, (to) => {
      own = to;
      other = 0;
      draw();
    });
    const image = images[other];
    if (!image) return right.say(t(session.answer.offline ? "answer.no-images-offline" : "answer.no-images"));
    const words = t("compare.other", { name: nameOf(result), organ: t(`organ.${image.organ ?? "other"}`), number: other + 1, of: images.length });
    right.show(addressOf(image.url.m ?? image.url.o), words, creditOf(image), other, images.length, (to) => {
      other = to;
      draw();
    });
  }
}

function side() {
  const image = element("img");
  const words = element("p", "small");
  const credit = element("p", "faint small credit");
  let step = () => {};
  const before = button("icon", "‹", () => step(-1));
  const after = button("icon", "›", () => step(1));
  const figure = element("figure", "", element("div", "frame", image), element("figcaption", "", element("div", "", words, credit), before, after));
  words.setAttribute("aria-live", "polite");
  return {
    figure,
    show(url, told, by, i, n, go) {
      image.src = url;
      image.alt = told;
      words.textContent = told;
      credit.textContent = by;
      step = (way) => go((i + way + n) % n);
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
