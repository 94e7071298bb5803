// Forms that say themselves what they send: data-send="METHOD /address", then data-then, data-said, data-shows or the
// page anew. Fields become JSON; data-as says of which kind, an empty field is left out, or null with data-null.
import { again, element, send, t, tell, working } from "./api.js";

const place = JSON.parse(sessionStorage.getItem("place") ?? "null");
sessionStorage.removeItem("place");
if (place?.path === location.pathname) {
  scrollTo(0, place.top);
  if (place.focus) document.getElementById(place.focus)?.focus({ preventScroll: true });
}

const AS = {
  number: Number,
  bool: (text) => text === "true",
  list: (text) => [text],
  gigabytes: (text) => Math.round(Number(text) * 1e9),
  device: (text) => (/^\d+$/.test(text) ? Number(text) : text),
};

function values(form) {
  const found = {};
  for (const field of form.elements) {
    const isLeftOut = !field.name || field.disabled || (field.type === "checkbox" && !field.checked);
    if (isLeftOut || field.tagName === "BUTTON") continue;
    const convert = AS[field.dataset.as] ?? String;
    if (field.value !== "") found[field.name] = convert(field.value);
    else if ("null" in field.dataset) found[field.name] = null;
  }
  return found;
}

// Ask before something is done; resolves to the reason that was given ("" where none is asked for), null to leave it.
function asked(question, wantsReason) {
  const reason = element("input", { name: "why", maxlength: 500, autocomplete: "off" });
  const go = element("button", { class: "main", value: "go" }, t("go"));
  const form = element("form", { method: "dialog" }, element("p", {}, question));
  if (wantsReason) form.append(element("p", {}, element("label", {}, t("why"), reason)));
  form.append(element("p", { class: "buttons" }, go, element("button", { value: "", formnovalidate: "" }, t("leave"))));
  const dialog = element("dialog", { "aria-label": question }, form);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "go" ? reason.value : null);
      dialog.remove();
    });
  });
}

async function submit(form) {
  const { send: request, then, said, shows, confirm, ask, stay } = form.dataset;
  const body = values(form);
  if (confirm || ask) {
    const why = await asked(confirm || ask, Boolean(ask));
    if (why === null) return;
    if (ask) body.why = why;
  }
  const [method, address] = request.split(" ");
  await working(form, async () => {
    const answer = await send(method, address, method === "DELETE" ? undefined : body);
    if (then) {
      location.assign(then.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(answer[name])));
    } else if (shows) {
      form.replaceChildren(
        element("p", { class: "note" }, t("secret")),
        element("code", { class: "secret", tabindex: "0" }, answer[shows]),
        element("p", { class: "buttons" }, element("a", { class: "button", href: location.href }, t("seen"))),
      );
    } else if (said) {
      tell(form, "", said);
      document.dispatchEvent(new CustomEvent("changed"));
    } else if (stay === undefined) {
      again(form.dataset.focus ?? "");
    }
  });
}

document.addEventListener("submit", (event) => {
  if ("send" in event.target.dataset) {
    event.preventDefault();
    submit(event.target);
  }
});

// Questions to the page itself: empty fields do not appear in the address.
for (const form of document.querySelectorAll("form[data-go]")) {
  form.addEventListener("formdata", ({ formData }) => {
    [...formData].forEach(([name, value]) => value === "" && formData.delete(name));
  });
  form.querySelectorAll("[data-submit]").forEach((field) => field.addEventListener("change", () => form.requestSubmit()));
}
