// Drawing of zones that do not count, as polygons on an image: with the mouse, a finger, or the keys.
// Corners are shares of the image's width and height, from 0 to 1.
import { drawn, element, send, t, tell, working } from "./api.js";

const STEP = 0.01; // of the image, that an arrow key moves; ten times as much with Shift
const NEAR = 0.03; // of the image, from the first corner, that closes a polygon
const FINGER = 44; // pixels of the screen around a corner that take hold of it
const UNITS = 1000; // of the drawing, along either side

const place = document.querySelector("#zones");

class Canvas {
  constructor() {
    this.svg = place.querySelector("svg");
    this.zones = [];
    this.draft = [];
    this.cursor = [0.5, 0.5];
    this.isByKeys = false;
    this.isOnlyShown = "onlyShown" in place.dataset;
    this.image = place.querySelector("img");
    this.image.addEventListener("load", () => this.fit());
    this.fit();
    if (this.isOnlyShown) return;
    this.svg.addEventListener("pointerdown", (event) => this.press(event));
    this.svg.addEventListener("pointermove", (event) => this.drag(event));
    ["pointerup", "pointercancel"].forEach((name) => this.svg.addEventListener(name, () => { this.held = null; }));
    this.svg.addEventListener("keydown", (event) => this.key(event));
    this.svg.addEventListener("blur", () => { // a corner inside may get the focus, so nothing is drawn anew
      this.isByKeys = false;
      this.svg.querySelectorAll(".cross").forEach((line) => line.remove());
    });
  }

  fit() {
    this.aspect = (this.image.naturalWidth || 1) / (this.image.naturalHeight || 1);
    this.svg.setAttribute("viewBox", `0 0 ${UNITS * this.aspect} ${UNITS}`);
    this.svg.parentElement.style.maxWidth = `min(900px, ${72 * this.aspect}vh)`; // so that all of it is seen at once
    this.show();
  }

  at(event) {
    const box = this.svg.getBoundingClientRect();
    const share = (value, size) => Math.min(Math.max(value / size, 0), 1);
    return [share(event.clientX - box.left, box.width), share(event.clientY - box.top, box.height)];
  }

  near([x, y], [u, v]) {
    return Math.hypot((x - u) * this.aspect, y - v) < NEAR;
  }

  press(event) {
    event.preventDefault();
    this.svg.focus();
    this.isByKeys = false;
    const point = this.at(event);
    const { zone, corner } = event.target.dataset;
    if (zone !== undefined && !this.draft.length) {
      this.held = [Number(zone), Number(corner)];
      this.svg.setPointerCapture(event.pointerId);
    } else {
      this.put(point);
    }
  }

  drag(event) {
    if (!this.held) return;
    const [zone, corner] = this.held;
    this.zones[zone][corner] = this.at(event);
    this.show();
  }

  put(point) {
    if (this.draft.length > 2 && this.near(point, this.draft[0])) {
      this.close();
      return;
    }
    this.draft.push(point);
    this.say(t("zones.corner", { n: this.draft.length }));
    this.show();
  }

  close() {
    if (this.draft.length < 3) {
      this.say(t("zones.three"));
      return;
    }
    this.zones.push(this.draft);
    this.draft = [];
    this.say(t("zones.closed", { n: this.zones.length }));
    this.show();
  }

  undo() {
    if (this.draft.length) this.draft.pop();
    else this.draft = this.zones.pop() ?? [];
    this.say(t("zones.corner", { n: this.draft.length }));
    this.show();
  }

  clear() {
    this.zones = [];
    this.draft = [];
    this.say(t("zones.none"));
    this.show();
  }

  // On a corner the arrows move that corner, else the cross at which Enter puts the next one.
  key(event) {
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const onCorner = event.target.dataset.zone !== undefined;
    if (arrows[event.key]) {
      const step = event.shiftKey ? 10 * STEP : STEP;
      const moved = ([x, y]) => [x + step * arrows[event.key][0], y + step * arrows[event.key][1]].map((value) => Math.min(Math.max(value, 0), 1));
      if (onCorner) {
        const { zone, corner } = event.target.dataset;
        this.zones[zone][corner] = moved(this.zones[zone][corner]);
        this.show();
        this.svg.querySelector(`[data-zone="${zone}"][data-corner="${corner}"]`).focus();
      } else {
        this.isByKeys = true;
        this.cursor = moved(this.cursor);
        this.say(t("zones.at", { x: Math.round(100 * this.cursor[0]), y: Math.round(100 * this.cursor[1]) }));
        this.show();
      }
    } else if (!onCorner && ["Enter", " "].includes(event.key)) {
      this.isByKeys = true;
      this.put(this.cursor);
    } else if (["c", "C"].includes(event.key)) {
      this.close();
    } else if (event.key === "Backspace") {
      this.undo();
    } else if (event.key === "Escape" && this.draft.length) {
      this.draft = [];
      this.show();
    } else {
      return;
    }
    event.preventDefault();
  }

  say(text) {
    document.querySelector("#zones-said").textContent = text;
  }

  show() {
    const scaled = ([x, y]) => [UNITS * this.aspect * x, UNITS * y];
    const points = (polygon) => polygon.map((point) => scaled(point).join(",")).join(" ");
    const hatch = drawn("pattern", { id: "hatch", width: 14, height: 14, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
    hatch.append(drawn("line", { class: "hatch-line", x1: 0, x2: 0, y1: 0, y2: 14 }));
    const parts = [hatch];
    const reach = (FINGER / 2) * (UNITS / (this.svg.clientHeight || UNITS));
    this.zones.forEach((zone, index) => {
      parts.push(drawn("polygon", { class: "zone", points: points(zone) }));
      if (this.isOnlyShown) return;
      zone.forEach((point, corner) => {
        const [cx, cy] = scaled(point);
        const about = { "data-zone": index, "data-corner": corner, cx, cy };
        const label = t("zones.corner.of", { corner: corner + 1, n: index + 1 });
        parts.push(drawn("circle", { class: "corner", r: 9, tabindex: 0, role: "button", "aria-label": label, ...about }));
        parts.push(drawn("circle", { class: "reach", r: reach, ...about }));
      });
    });
    if (this.draft.length) {
      parts.push(drawn(this.draft.length > 2 ? "polygon" : "polyline", { class: "draft", points: points(this.draft) }));
      this.draft.forEach((point) => {
        const [cx, cy] = scaled(point);
        parts.push(drawn("circle", { class: "corner", r: 9, cx, cy }));
      });
    }
    if (this.isByKeys) {
      const [x, y] = scaled(this.cursor);
      const d = `M${x - 28} ${y}H${x + 28}M${x} ${y - 28}V${y + 28}`;
      parts.push(drawn("path", { class: "cross under", d }), drawn("path", { class: "cross", d }));
    }
    this.svg.replaceChildren(...parts);
    const list = place.querySelector(".zone-list");
    list.replaceChildren(...this.zones.map((zone, index) => {
      const item = element("li", {}, t("zones.zone", { n: index + 1, corners: zone.length }));
      if (!this.isOnlyShown) {
        const button = element("button", { type: "button" }, t("zones.remove", { n: index + 1 }));
        button.addEventListener("click", () => {
          this.zones.splice(index, 1);
          this.show();
        });
        item.append(button);
      }
      return item;
    }));
  }
}

if (place) {
  const part = encodeURIComponent(place.dataset.part);
  const canvas = new Canvas();
  const form = document.querySelector("#set-zones");
  send("GET", `/api/v1/parts/${part}/zones`).then(({ polygons }) => {
    canvas.zones.push(...polygons ?? []); // after what may have been drawn meanwhile, and is perhaps held
    canvas.show();
  }).catch((error) => canvas.say(error.message));
  document.querySelector("#zones-picture")?.addEventListener("change", ({ target }) => { canvas.image.src = target.value; });
  place.querySelectorAll("[data-do]").forEach((button) => button.addEventListener("click", () => canvas[button.dataset.do]()));
  form?.addEventListener("submit", (event) => {
    event.preventDefault();
    if (canvas.draft.length > 2) canvas.close();
    const why = form.elements.why.value;
    const isAnew = event.submitter?.name === "anew";
    working(form, async () => {
      if (isAnew) {
        const options = { zones: canvas.zones, why };
        await send("POST", `/api/v1/parts/${part}/jobs`, { kind: "enroll", options });
        location.assign(`/parts/${part}/teach`);
        return;
      }
      try {
        await send("PUT", `/api/v1/parts/${part}/zones`, { polygons: canvas.zones, why });
      } catch (error) {
        // A model that learned from all good images cannot set its limit anew: it is taught anew with the zones.
        if (error.type === "DatasetError" && canvas.zones.length && !form.elements.anew) {
          form.querySelector(".buttons").append(element("button", { name: "anew", value: "1" }, t("zones.anew")));
        }
        throw error;
      }
      tell(form, "", t("zones.saved"));
      document.dispatchEvent(new CustomEvent("changed"));
    });
  });
}
