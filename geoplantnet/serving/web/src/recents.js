// The species looked at lately, kept by this browser alone: [{taxonID, scientificName, vernacularName}], newest first.

const KEY = "geoplantnet.recents";
const KEPT = 6;

export function recents() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(kept) ? kept.filter((one) => one?.taxonID && one.scientificName).slice(0, KEPT) : [];
  } catch {
    return []; // storage forbidden, or something else's
  }
}

export function remember({ taxonID, scientificName, vernacularName = null }) {
  const others = recents().filter((one) => one.taxonID !== taxonID);
  try {
    localStorage.setItem(KEY, JSON.stringify([{ taxonID, scientificName, vernacularName }, ...others].slice(0, KEPT)));
  } catch {
    // without storage there are no recents
  }
}
