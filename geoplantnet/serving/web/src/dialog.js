// A dialog with a head, a body and a way back: what is told of a layer beside its legend.
import { button, element } from "./dom.js";
import { t } from "./i18n.js";

let open = null;

// title, about: words; opener: the button the focus returns to. -> {body, signal}, aborted when it is closed
export function openDialog({ id, title, about, opener }) {
  open?.remove();
  const abort = new AbortController();
  const head = element("h2", "", title);
  head.id = `${id}-title`;
  const body = element("div", "dialog-body");
  const dialog = element("dialog", `${id} card`);
  dialog.setAttribute("aria-labelledby", head.id);
  const close = button("icon", "✕", () => dialog.close());
  close.setAttribute("aria-label", t("close"));
  dialog.append(element("div", "dialog-head", element("div", "", head, element("p", "eyebrow", about)), close), body);
  dialog.addEventListener("close", () => {
    abort.abort();
    dialog.remove();
    opener.focus();
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // on the backdrop
  document.body.append(dialog);
  dialog.showModal();
  open = dialog;
  return { body, signal: abort.signal };
}

export function section(title, ...content) {
  return element("section", "", element("h3", "", title), ...content);
}

export function list(items, className = "") {
  return element("ul", className, ...items.map((item) => element("li", "", item)));
}

export function pairs(entries) {
  return element("dl", "pairs", ...entries.map(([name, value]) => element("div", "", element("dt", "", name), element("dd", "", value))));
}
