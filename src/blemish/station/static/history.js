// False alarms of one part, chosen in the history, become what its model knows as good.
import { send, working } from "./api.js";

const form = document.querySelector("#accept");
const buttons = document.querySelector("#accepting");
if (buttons) {
  const chosen = () => new FormData(form).getAll("inspections");
  form.addEventListener("change", () => { buttons.hidden = chosen().length === 0; });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const part = encodeURIComponent(form.dataset.part);
    working(form, async () => {
      await send("POST", `/api/v1/parts/${part}/accept`, { inspections: chosen() });
      location.assign(`/parts/${part}/teach`);
    });
  });
}
