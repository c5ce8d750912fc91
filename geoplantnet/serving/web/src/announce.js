// Say a thing to who listens rather than looks.

let clearing = 0;

export function announce(text) {
  const region = document.getElementById("announcer");
  clearTimeout(clearing);
  region.textContent = "";
  // a frame apart, so that the same words twice are said twice
  clearing = setTimeout(() => (region.textContent = text), 50);
}
