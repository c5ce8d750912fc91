// On a narrow screen the panel is a sheet at the foot of the map: a handle to press or to drag, three heights.
import { at } from "./dom.js";
import { onLanguage, t } from "./i18n.js";
import { state } from "./state.js";

const HEIGHTS = ["peek", "half", "full"];

// moved(): the sheet has another height.
export function createSheet(narrow, moved) {
  const sheet = at("sheet");
  const handle = at("handle");
  let drag = null; // {y, height, far}

  function set(height) {
    sheet.dataset.height = height;
    handle.setAttribute("aria-label", t(`sheet.${height}`));
    handle.setAttribute("aria-expanded", String(height !== "peek"));
    moved();
  }

  handle.addEventListener("click", () => {
    if (drag?.far) return;
    set(HEIGHTS[(HEIGHTS.indexOf(sheet.dataset.height) + 1) % HEIGHTS.length]);
  });
  handle.addEventListener("pointerdown", (event) => {
    drag = { y: event.clientY, height: sheet.getBoundingClientRect().height, far: false };
    handle.setPointerCapture(event.pointerId);
  });
  handle.addEventListener("pointermove", (event) => {
    if (!drag || !handle.hasPointerCapture(event.pointerId)) return;
    const by = drag.y - event.clientY;
    drag.far ||= Math.abs(by) > 6;
    if (drag.far) sheet.style.height = `${drag.height + by}px`;
  });
  handle.addEventListener("pointerup", () => {
    if (!drag?.far) return;
    const share = sheet.getBoundingClientRect().height / innerHeight;
    sheet.style.height = "";
    set(share < 0.38 ? "peek" : share < 0.7 ? "half" : "full");
    setTimeout(() => (drag = null)); // the click that follows is none
  });
  handle.addEventListener("pointercancel", () => {
    sheet.style.height = "";
    drag = null;
  });

  onLanguage(() => set(sheet.dataset.height));
  document.addEventListener("panel-shown", () => narrow.matches && sheet.dataset.height === "peek" && set("half"));
  set(state.get().tab === "layers" ? "peek" : "half");
  return {
    atLeast(height) {
      if (narrow.matches && HEIGHTS.indexOf(sheet.dataset.height) < HEIGHTS.indexOf(height)) set(height);
    },
  };
}
