// The browser's own database on this device: plants that wait for the network, and the plant at hand of each tab, so that a reload loses nothing.

const NAME = "geoplantnet-identify";
const WAITING = "waiting";
const TABLES = "tables";
const DAY = 86_400_000; // milliseconds after which the table of a tab that is no longer there is cleared

function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 2);
    request.onupgradeneeded = () => {
      const database = request.result;
      if (!database.objectStoreNames.contains(WAITING)) database.createObjectStore(WAITING, { keyPath: "id", autoIncrement: true });
      if (!database.objectStoreNames.contains(TABLES)) database.createObjectStore(TABLES, { keyPath: "tab" });
    };
    request.onsuccess = () => {
      request.result.onversionchange = () => request.result.close(); // a newer page in another tab need not wait
      resolve(request.result);
    };
    request.onerror = () => reject(request.error);
  });
}

async function within(name, mode, act) {
  const database = await open();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction(name, mode);
      const request = act(transaction.objectStore(name));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = transaction.onerror = () => reject(transaction.error);
    });
  } finally {
    database.close();
  }
}

// plant: {photos: [{name, blob, organ, place, taken}], place, at, answer, refusal, said} -> its id. Raises what the database does, such as a full disk.
export const keepWaiting = (plant) => within(WAITING, "readwrite", (store) => store.add(plant));
// Of a plant that was let go of meanwhile nothing comes back.
export const updateWaiting = (plant) =>
  within(WAITING, "readwrite", (store) => {
    const there = store.getKey(plant.id);
    there.onsuccess = () => there.result !== undefined && store.put(plant);
    return there;
  });
// Oldest first, each with its id.
export const listWaiting = () => within(WAITING, "readonly", (store) => store.getAll());
export const dropWaiting = (id) => within(WAITING, "readwrite", (store) => store.delete(id));

// What lies on the table of a tab: {tab, at, photos, place, placeFrom, answer, taken}
export const keepTable = (table) => within(TABLES, "readwrite", (store) => store.put(table));
export const dropTable = (tab) => within(TABLES, "readwrite", (store) => store.delete(tab));
// -> that of this tab, or undefined. What nobody came back to within a day is cleared.
export async function takeTable(tab) {
  const tables = await within(TABLES, "readonly", (store) => store.getAll());
  const old = (one) => Date.now() - one.at > DAY;
  for (const one of tables.filter(old)) await dropTable(one.tab);
  return tables.find((one) => one.tab === tab && !old(one));
}
