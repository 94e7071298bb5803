// The live page: it follows the line by server-sent events, and fetches what it shows from the station.
import { follow, send, t, takesFiles, tell, working } from "./api.js";

const place = document.querySelector("#live");
const button = document.querySelector("#heat");
const connection = document.querySelector("#connection");

const withHeat = () => button.getAttribute("aria-pressed") === "true";

function showPicture() {
  const picture = place.querySelector(".stage img");
  if (!picture) return;
  const { with: overlay, without: plain } = picture.dataset;
  picture.onerror = () => { // one of the two may have been removed by the retention
    picture.onerror = null;
    picture.src = withHeat() ? plain : overlay;
  };
  const wanted = withHeat() ? overlay : plain;
  if (picture.getAttribute("src") !== wanted) picture.src = wanted;
}

const PATIENCE = 10000; // ms; what was asked of a station that fell silent must not hold up what comes after it
const FRESH = 30000; // ms after which what is shown is fetched again also without news, such as that the disk is full

// The newest state; while one is fetched, later news only note that there are some.
let isFetching = false;
let isBehind = false;
let fetched = 0; // when what is shown was fetched; 0: it is old
async function refresh() {
  isBehind = true;
  if (isFetching) return;
  isFetching = true;
  try {
    while (isBehind) {
      isBehind = false;
      const address = `/fragments/live?part=${encodeURIComponent(place.dataset.part)}`;
      const response = await fetch(address, { signal: AbortSignal.timeout(PATIENCE) });
      if (response.redirected) return location.reload(); // to the log-in
      if (!response.ok) throw new Error(response.statusText);
      const fresh = new DOMParser().parseFromString(await response.text(), "text/html").body;
      place.replaceChildren(...fresh.childNodes);
      fetched = Date.now();
      showConnection(false);
      showPicture();
    }
  } catch {
    fetched = 0; // and the next sign of life fetches it
    showConnection(true);
  } finally {
    isFetching = false;
  }
  return undefined;
}

function tellConnection(isLost) {
  if (isLost) {
    fetched = 0;
    showConnection(true);
  } else if (!isFetching && Date.now() - fetched > FRESH) {
    refresh();
  }
}

function showConnection(isLost) {
  connection.classList.toggle("lost", isLost);
  connection.querySelector("use").setAttribute("href", `/static/icons.svg#${isLost ? "lost" : "live"}`);
  connection.querySelector("span").textContent = t(isLost ? "live.lost" : "live.connected");
  // An old verdict must not be taken for that of the part that lies there now.
  place.querySelector(".big")?.classList.toggle("stale", isLost);
}

if (place) {
  button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", String(!withHeat()));
    localStorage.setItem("heat", String(withHeat()));
    showPicture();
  });
  button.setAttribute("aria-pressed", localStorage.getItem("heat") ?? "true");
  showPicture();

  follow("/api/v1/inspections/events", { open: refresh, inspection: refresh }, tellConnection);

  // By hand, without a camera.
  const form = document.querySelector("#inspect");
  takesFiles(form.querySelector("[data-drop]"), (files) => working(form, async () => {
    if (!form.reportValidity()) return;
    const { part, part_id: partId, lot_id: lotId } = Object.fromEntries(new FormData(form));
    for (const [index, file] of files.entries()) {
      tell(form, "", t("live.inspecting", { n: index + 1, all: files.length, name: file.name }));
      const query = new URLSearchParams({ part_id: partId, lot_id: lotId, request_id: crypto.randomUUID() });
      const body = new FormData();
      body.append("file", file);
      await patiently(() => send("POST", `/api/v1/parts/${encodeURIComponent(part)}/inspect?${query}`, body));
    }
    tell(form, "", t("live.inspected", { all: files.length }));
  }));
}

// Send again what the station has no room for at the moment.
async function patiently(work) {
  for (let n = 0; ; n += 1) {
    try {
      return await work();
    } catch (error) {
      if (error.status !== 503 || n === 20) throw error;
      await new Promise((resolve) => { setTimeout(resolve, 1000 * error.wait); });
    }
  }
}
