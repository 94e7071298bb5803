// One inspection: what is laid over the picture, where a region lies, and what a person decides.
import { again, element, send, working } from "./api.js";

const picture = document.querySelector("#shown");
const layers = [...document.querySelectorAll("#layers button")];
layers.forEach((button) => button.addEventListener("click", () => {
  picture.src = button.dataset.src;
  layers.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
}));

const regions = [...document.querySelectorAll("[data-region]")];
regions.forEach((button) => button.addEventListener("click", () => {
  const isShown = button.getAttribute("aria-pressed") === "true";
  button.setAttribute("aria-pressed", String(!isShown));
  document.getElementById(button.dataset.region)?.setAttribute("visibility", isShown ? "hidden" : "visible");
}));

// A model file may keep no pictures of good places.
const compared = document.querySelector(".compare img");
const missing = () => compared.closest(".compare").replaceChildren(element("p", {}, compared.dataset.missing));
if (compared?.complete && compared.naturalWidth === 0) missing();
compared?.addEventListener("error", missing);

const form = document.querySelector("#decide");
form.addEventListener("submit", (event) => {
  event.preventDefault();
  const body = { verdict: event.submitter?.value || null, comment: form.elements.comment.value };
  working(form, async () => {
    await send("POST", `/api/v1/inspections/${form.dataset.id}/decisions`, body);
    again();
  });
});
