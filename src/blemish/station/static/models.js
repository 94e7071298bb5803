// Model versions: a file from elsewhere, and two versions side by side.
import { again, element, send, shown, t, working } from "./api.js";

const upload = document.querySelector("#upload-model");
upload?.addEventListener("submit", (event) => {
  event.preventDefault();
  working(upload, async () => {
    await send("POST", `/api/v1/parts/${encodeURIComponent(upload.dataset.part)}/models`, new FormData(upload));
    again();
  });
});

const compare = document.querySelector("#compare");
compare?.addEventListener("submit", (event) => {
  event.preventDefault();
  working(compare, async () => {
    const query = new URLSearchParams(new FormData(compare));
    const found = await send("GET", `/api/v1/parts/${encodeURIComponent(compare.dataset.part)}/compare?${query}`);
    document.querySelector("#compared").replaceChildren(...told(found));
  });
});
