// What can be taken away: the report as a page and as a PDF, the table as CSV, XLSX and GeoJSON, all made by the server.
import { announce } from "../announce.js";
import { element } from "../dom.js";
import { percent, t } from "../i18n.js";
import { ServerError, ask } from "../server.js";
import { command } from "./command.js";
import { execute } from "./run.js";

const KINDS = [
  { id: "html", mediaType: "text/html", document: true },
  { id: "pdf", mediaType: "application/pdf", document: true },
  { id: "csv", mediaType: "text/csv" },
  { id: "xlsx", mediaType: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" },
  { id: "geojson", mediaType: "application/geo+json" },
];

// inputs(): of the process, with the comparison where there is one; name(): of files, without ending
export function createDocuments({ map, inputs, name }) {
  let controller = null;
  const status = element("p", "area-status");
  const cancel = command("area.cancel", () => controller?.abort(), "small");
  cancel.node.hidden = true;
  const buttons = KINDS.map((kind) => command(`area.take.${kind.id}`, () => take(kind), kind.document ? "strong" : ""));
  const row = element("div", "area-buttons", ...buttons.map(({ node }) => node));
  const node = element("section", "area-section area-take", row, status, cancel.node);
  for (const [i, { id }] of KINDS.entries()) buttons[i].node.dataset.take = id;

  async function take({ id, mediaType, document: opens }) {
    const format = t(`area.format.${id}`);
    controller = new AbortController();
    const { signal } = controller;
    busy(true);
    status.textContent = t("area.making", { format });
    announce(status.textContent);
    try {
      const { response, url } = await execute(inputs(), {
        map,
        mediaType,
        document: opens,
        signal,
        onProgress: (share) => (status.textContent = share ? t("area.making-share", { format, share: percent(share) }) : t("area.making", { format })),
      });
      const file = `${name()}.${id}`;
      if (opens) open(url, format);
      else save(await (response ?? (await ask(url, { headers: { Accept: mediaType } }, { signal }))).blob(), file);
    } catch (error) {
      if (!signal.aborted && !(error instanceof ServerError)) throw error;
      status.textContent = signal.aborted ? t("area.cancelled") : error.message;
      announce(status.textContent);
    } finally {
      busy(false);
    }
  }

  // A browser may refuse a new tab that comes long after the click: the link is there in any case.
  function open(url, format) {
    const link = element("a", "area-open", t("area.open", { format }));
    Object.assign(link, { href: url, target: "_blank", rel: "noopener" });
    status.replaceChildren(link);
    announce(t("area.made", { format }));
    const tab = window.open(url, "_blank");
    if (tab) tab.opener = null;
  }

  function save(blob, file) {
    saveBlob(blob, file);
    status.textContent = t("area.saved", { file });
    announce(status.textContent);
  }

  function busy(now) {
    cancel.node.hidden = !now;
    for (const one of buttons) one.refuse(now ? { key: "area.refused.busy" } : null);
  }

  return {
    node,
    forget() {
      controller?.abort();
      status.textContent = "";
    },
  };
}

export function saveBlob(blob, file) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = file;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
