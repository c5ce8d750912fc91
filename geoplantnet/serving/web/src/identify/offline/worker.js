// The net, off the page's own thread: onnxruntime on WebAssembly, one thread, so that no special headers are needed.
import * as ort from "onnxruntime-web/wasm";

let session = null;

self.onmessage = async ({ data }) => {
  try {
    if (data.model) {
      ort.env.wasm.numThreads = 1;
      ort.env.wasm.wasmBinary = data.wasm;
      ort.env.logLevel = "error";
      session = await ort.InferenceSession.create(new Uint8Array(data.model), { executionProviders: ["wasm"] });
      self.postMessage({ ready: true });
      return;
    }
    const { pixels, n, size } = data;
    const outputs = await session.run({ pixels: new ort.Tensor("uint8", pixels, [n, size, size, 3]) });
    self.postMessage(Object.fromEntries(["logits", "organs", "plant"].map((name) => [name, outputs[name].data])));
  } catch (error) {
    self.postMessage({ error: String(error?.message ?? error) });
  }
};
