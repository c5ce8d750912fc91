// Elements made in one line.

// element("p", "faint", "text", child, ...): nodes and words are appended, null is left out.
export function element(tag, className = "", ...content) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...content.filter((part) => part !== null && part !== undefined && part !== ""));
  return node;
}

export function button(className, words, onClick) {
  const node = element("button", `button ${className}`.trim(), words);
  node.type = "button";
  node.addEventListener("click", onClick);
  return node;
}

export const at = (id) => document.getElementById(id);
