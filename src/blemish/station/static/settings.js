// Settings: only the fields of the chosen kind, and where each source stands.
import { send } from "./api.js";

for (const choice of document.querySelectorAll("[data-chooses]")) {
  const show = () => choice.form.querySelectorAll("[data-kinds]").forEach((label) => {
    const isMeant = label.dataset.kinds.split(" ").includes(choice.value);
    label.hidden = !isMeant;
    label.querySelector("input, select").disabled = !isMeant;
  });
  choice.addEventListener("change", show);
  show();
}

for (const cell of document.querySelectorAll("[data-state]")) {
  send("GET", `/api/v1/sources/${encodeURIComponent(cell.dataset.state)}/state`).then(
    ({ state, error }) => { cell.textContent = error ? `${state}: ${error}` : state; },
    (error) => { cell.textContent = error.message; },
  );
}
