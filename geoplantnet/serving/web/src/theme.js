// Light, dark, or as the system has it; and what must be drawn anew when that changes.
import { onLanguage, t } from "./i18n.js";
import { state } from "./state.js";
import { at } from "./dom.js";

const THEMES = ["auto", "light", "dark"];
const system = window.matchMedia("(prefers-color-scheme: dark)");

// redraw(): colours of the page have changed
export function startTheme(redraw) {
  const paint = () => {
    const { theme } = state.get();
    const dark = theme === "dark" || (theme === "auto" && system.matches);
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    name();
    redraw();
  };
  const name = () => {
    const words = t(`theme.${state.get().theme}`);
    at("theme-name").textContent = words;
    at("theme").setAttribute("aria-label", t("theme.label", { name: words }));
    at("theme").title = t("theme.label", { name: words });
  };
  at("theme").addEventListener("click", () => state.set({ theme: THEMES[(THEMES.indexOf(state.get().theme) + 1) % THEMES.length] }));
  state.on((now, before) => now.theme !== before.theme && paint());
  system.addEventListener("change", paint);
  onLanguage(name);
  paint();
}
