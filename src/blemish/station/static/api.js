// What all scripts share: texts, and how the station is asked and told.

const known = JSON.parse(document.querySelector("#texts").textContent);

// A text by its key, its {values} filled in.
export const t = (key, values = {}) => known[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);

// A number with about four digits, as scores are shown.
export const shown = (number) => Number(number).toPrecision(4);

// Ask the station. Resolves to what it answers, rejects with an Error whose message is for people.
export async function send(method, address, body, headers = {}) {
  const csrf = document.querySelector("meta[name=csrf]")?.content;
  const options = { method, headers: { ...headers, ...(csrf && { "X-CSRF-Token": csrf }) } };
  if (body instanceof FormData) {
    options.body = body;
  } else if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(address, options);
  } catch {
    throw new Error(t("unreachable"));
  }
  const answer = await response.json().catch(() => null);
  if (response.ok) return answer;
  const error = new Error(answer?.error?.message ?? t("refused", { status: response.status }));
  error.type = answer?.error?.type;
  error.status = response.status;
  error.wait = Number(response.headers.get("Retry-After")) || 1;
  throw error;
}

const SILENT = 12000; // ms without a sign of life, which comes every five seconds
const RETURN = 4500; // ms in which the browser has come again by itself where a stream ended

// Follow a stream of server-sent events as long as the page is open. `on` has what to do with each kind of event;
// `tellConnection` is called with whether the station is lost. A browser by itself notices no station that has fallen
// silent, and never comes again after an answer like a proxy's that the station is just starting.
export function follow(address, on, tellConnection = () => {}) {
  let events;
  let silence;
  function listen() {
    clearTimeout(silence);
    silence = setTimeout(lose, SILENT);
  }
  function open() {
    const mine = new EventSource(address);
    for (const [kind, take] of Object.entries({ open() {}, alive() {}, ...on })) {
      mine.addEventListener(kind, (event) => {
        take(event);
        listen();
        tellConnection(false);
      });
    }
    mine.addEventListener("error", () => setTimeout(() => {
      if (mine === events && mine.readyState !== EventSource.OPEN) lose();
    }, RETURN));
    events = mine;
    listen();
  }
  function close() {
    clearTimeout(silence);
    events?.close();
    events = undefined;
  }
  function lose() {
    tellConnection(true);
    close();
    open();
    // Whoever is logged out gets no stream: the page itself sends to the log-in.
    fetch("/api/v1/session").then(({ status }) => { if (status === 401) location.reload(); }, () => {});
  }
  open();
  addEventListener("pagehide", close);
  addEventListener("pageshow", ({ persisted }) => { if (persisted) open(); });
}

// Say in a form what became of it; a small one gets a place for it when there is something to say.
export function tell(form, problem, done = "") {
  for (const [name, role, text] of [["problem", "alert", problem], ["done", "status", done]]) {
    const place = form.querySelector(`.${name}`);
    if (place) place.textContent = text;
    else if (text) form.append(element("p", { class: name, role }, text));
  }
}

// Run what a form does: its buttons rest meanwhile, and a failure is told in it.
export async function working(form, work) {
  const buttons = [...form.querySelectorAll("button")].filter((button) => !button.disabled);
  buttons.forEach((button) => { button.disabled = true; });
  form.setAttribute("aria-busy", "true");
  tell(form, "");
  try {
    return await work();
  } catch (error) {
    tell(form, error.message);
    return undefined;
  } finally {
    form.removeAttribute("aria-busy");
    buttons.forEach((button) => { button.disabled = false; });
  }
}

// Make an element of the page: text is text, never markup.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  made.append(...children);
  return made;
}

// Make a part of a drawing.
export function drawn(name, attributes = {}, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  made.textContent = text;
  return made;
}

// Let files be dropped on a label around a file input, or chosen with it.
export function takesFiles(label, take) {
  const input = label.querySelector("input");
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = "";
  });
  label.addEventListener("dragover", (event) => {
    event.preventDefault();
    label.classList.add("over");
  });
  label.addEventListener("dragleave", () => label.classList.remove("over"));
  label.addEventListener("drop", (event) => {
    event.preventDefault();
    label.classList.remove("over");
    take([...event.dataTransfer.files]);
  });
}

// Load the page anew, and go on at the same place and, where there is one, the same control.
export function again(focus = "") {
  sessionStorage.setItem("place", JSON.stringify({ path: location.pathname, top: scrollY, focus }));
  location.reload();
}
