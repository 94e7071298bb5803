// Teaching a part: images come in, teaching starts, and how far it is arrives by server-sent events.
import { again, follow, send, t, takesFiles, tell, working } from "./api.js";

const AT_ONCE = 8; // files of one request: few enough to see it go on

const upload = document.querySelector("#upload");
if (upload) {
  const bar = upload.querySelector("progress");
  const address = `/api/v1/parts/${encodeURIComponent(upload.dataset.part)}/good`;
  takesFiles(upload.querySelector("[data-drop]"), (files) => working(upload, async () => {
    const refused = [];
    bar.hidden = false;
    for (let first = 0; first < files.length; first += AT_ONCE) {
      const body = new FormData();
      files.slice(first, first + AT_ONCE).forEach((file) => body.append("files", file));
      const answer = await send("POST", address, body);
      refused.push(...answer.refused);
      bar.value = Math.min(first + AT_ONCE, files.length) / files.length;
      tell(upload, "", t("teach.uploaded", { n: Math.min(first + AT_ONCE, files.length), all: files.length }));
    }
    if (!refused.length) return again();
    bar.hidden = true;
    const told = refused.join(" ");
    return tell(upload, told, t("teach.uploaded", { n: files.length - refused.length, all: files.length }));
  }));
}

const start = document.querySelector("#start");
if (start) {
  const minutes = document.querySelector("#minutes");
  start.addEventListener("change", () => { minutes.hidden = start.elements.kind.value !== "fit"; });
  start.addEventListener("submit", (event) => {
    event.preventDefault();
    const given = Object.fromEntries(new FormData(start));
    const options = { alpha: Number(given.alpha) };
    if (given.unsure) options.unsure = Number(given.unsure);
    if (start.elements.zones && !given.zones) options.zones = []; // else those of the model before are taken over
    if (given.kind === "fit") options.minutes = Number(given.minutes);
    working(start, async () => {
      await send("POST", `/api/v1/parts/${encodeURIComponent(start.dataset.part)}/jobs`, { kind: given.kind, options });
      scrollTo(0, 0);
      again();
    });
  });
}

const job = document.querySelector("#job");
if (job) {
  const bar = job.querySelector("progress");
  const stage = document.querySelector("#stage");
  follow(`/api/v1/jobs/${job.dataset.job}/events`, {
    job: ({ data }) => {
      const { state, progress } = JSON.parse(data);
      if (!["queued", "running"].includes(state)) {
        again();
      } else if (progress.total) {
        bar.value = progress.done / progress.total;
        const note = progress.note ? ` · ${progress.note}` : "";
        stage.textContent = `${t("teach.stage", progress)}${note}`;
      }
    },
  });
}
