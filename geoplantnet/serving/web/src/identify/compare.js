// The own photo beside one of a candidate, as large as the screen allows.
import { element } from "../dom.js";
import { openDialog } from "../dialog.js";
import { t } from "../i18n.js";
import { belowName, imagesOf, nameOf, organOf } from "./answer.js";
import { addressOf, creditOf } from "./parts.js";
import { session } from "./session.js";
import { createFrame, stepsByArrows } from "./viewer.js";

// shown: which of the own photos; first: which of the candidate's; opener: where the focus returns to
export function compare(result, shown, first, opener) {
  const { body } = openDialog({ id: "compare", title: nameOf(result), about: belowName(result), opener });
  let own = shown;
  let other = first;
  const left = createFrame();
  const right = createFrame();
  body.append(element("div", "pair", left.figure, right.figure));
  stepsByArrows(body, right);
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
