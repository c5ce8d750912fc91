// Photos that wait for the network, in the browser's own database on this device.

const NAME = "geoplantnet-identify";
const STORE = "waiting";

function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id", autoIncrement: true });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function within(mode, act) {
  const database = await open();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction(STORE, mode);
      const request = act(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = transaction.onerror = () => reject(transaction.error);
    });
  } finally {
    database.close();
  }
}

// plant: {photos: [{name, blob, organ, place, taken}], place, at, answer, refusal} -> its id. Raises what the database does, such as a full disk.
export const keepWaiting = (plant) => within("readwrite", (store) => store.add(plant));
// Of a plant that was let go of meanwhile nothing comes back.
export const updateWaiting = (plant) =>
  within("readwrite", (store) => {
    const there = store.getKey(plant.id);
    there.onsuccess = () => there.result !== undefined && store.put(plant);
    return there;
  });
// Oldest first, each with its id.
export const listWaiting = () => within("readonly", (store) => store.getAll());
export const dropWaiting = (id) => within("readwrite", (store) => store.delete(id));
