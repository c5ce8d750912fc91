// Words, numbers and dates in the reader's language.
const LOCALES = { en: "en-GB", fr: "fr-FR" };
export const LANGUAGES = Object.keys(LOCALES);

const STRINGS = { en: {}, fr: {} };
let language = "en";
const listeners = [];

// What a page can say, {en: {key: words}, fr: ...}: before it says anything.
export function teach(strings) {
  for (const code of LANGUAGES) for (const [key, words] of Object.entries(strings[code])) STRINGS[code][key] = code === "fr" ? french(words) : words;
}

// French has a space before : ; ? ! % and within « », at which no line may end.
const french = (words) => words.replace(/ (?=[:;?!%»])/g, "\u00a0").replace(/« /g, "«\u00a0");

// The first of the browser's languages that the page speaks.
export function preferred() {
  return navigator.languages.map((tag) => tag.slice(0, 2).toLowerCase()).find((tag) => tag in STRINGS) ?? "en";
}

export const lang = () => language;

export function setLanguage(wanted) {
  language = wanted in STRINGS ? wanted : "en";
  document.documentElement.lang = language;
  translate(document.body);
  for (const listener of listeners) listener(language);
}

// listener(language) after each change
export function onLanguage(listener) {
  listeners.push(listener);
}

// t("area.draw", {n: 3}): {n} is replaced, a number as the language writes it. Where there are "key.one" and "key.other", `n` chooses.
export function t(key, values = {}) {
  const words = STRINGS[language];
  const form = typeof values.n === "number" ? `${key}.${new Intl.PluralRules(LOCALES[language]).select(values.n)}` : key;
  const text = words[form] ?? words[`${key}.other`] ?? words[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    if (value === undefined) return whole;
    return typeof value === "number" ? number(value, Number.isInteger(value) ? 0 : 2) : String(value);
  });
}

export function has(key) {
  return key in STRINGS[language];
}

// A number with so many digits behind the point, a true minus sign.
export function number(value, digits = 0) {
  return value.toLocaleString(LOCALES[language], { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", "−");
}

// 0.123 -> "12 %"; below one per cent "< 1 %", for a share that is not nothing.
export function percent(share) {
  const format = (value) => value.toLocaleString(LOCALES[language], { style: "percent", maximumFractionDigits: 0 }).replace("%", " %").replace(/\s+%/, " %");
  if (share > 0 && share < 0.005) return `< ${format(0.01)}`;
  return format(share);
}

export function date(iso, style = "long") {
  return new Date(iso).toLocaleDateString(LOCALES[language], { dateStyle: style, timeZone: "UTC" });
}

// The month 0..11, "long" or "narrow".
export function monthName(i, style = "long") {
  return new Date(Date.UTC(2001, i, 15)).toLocaleDateString(LOCALES[language], { month: style, timeZone: "UTC" });
}

// "fr" -> "French"; a code that nobody knows stays what it is.
export function languageName(code) {
  try {
    return new Intl.DisplayNames(LOCALES[language], { type: "language" }).of(code);
  } catch {
    return code;
  }
}

// Elements say by themselves which words they hold: data-t (text), data-t-label (aria-label), data-t-title, data-t-placeholder.
export function translate(root) {
  const each = (attribute, put) => {
    for (const node of root.querySelectorAll(`[${attribute}]`)) put(node, t(node.getAttribute(attribute)));
    if (root.hasAttribute?.(attribute)) put(root, t(root.getAttribute(attribute)));
  };
  each("data-t", (node, words) => (node.textContent = words));
  each("data-t-label", (node, words) => node.setAttribute("aria-label", words));
  each("data-t-title", (node, words) => (node.title = words));
  each("data-t-placeholder", (node, words) => (node.placeholder = words));
}
