// A button that, where it cannot apply, stays in reach, looks it, and says why.
import { announce } from "../announce.js";
import { element } from "../dom.js";
import { onLanguage, t } from "../i18n.js";

// -> {node, refuse({key, values} | null), press(pressed)}; the words are those of `key`
export function command(key, onClick, className = "") {
  const node = element("button", `button ${className}`.trim());
  node.type = "button";
  let reason = null;
  const words = () => reason && t(reason.key, reason.values);
  const paint = () => {
    node.textContent = t(key);
    if (reason) node.title = words();
    else node.removeAttribute("title");
  };
  node.addEventListener("click", () => {
    if (reason) announce(words());
    else onClick();
  });
  onLanguage(paint);
  paint();
  return {
    node,
    refuse(why) {
      reason = why;
      if (why) node.setAttribute("aria-disabled", "true");
      else node.removeAttribute("aria-disabled");
      paint();
    },
    press: (pressed) => node.setAttribute("aria-pressed", String(pressed)),
  };
}

// Words that follow the language: a node whose text is made anew.
export function words(tag, className, make) {
  const node = element(tag, className);
  const paint = () => {
    const text = make();
    if (node.textContent !== text) node.textContent = text;
  };
  onLanguage(paint);
  paint();
  return { node, paint };
}
