// The scores as a histogram, and what another threshold would have meant: counted here, from the scores themselves.
import { drawn, send, shown, t } from "./api.js";

const WIDTH = 1000;
const BASE = 262; // where bars stand
const TALLEST = 220;
const N_BARS = 56;
const VERDICTS = ["good", "unsure", "defective"];

const section = document.querySelector("#what-if");
const svg = document.querySelector("#histogram");
const slider = document.querySelector("#slider");

// The ends of the axis: around scores and limit, but a far outlier must not squeeze all the rest. A bar begins exactly at
// the threshold.
function ends(data) {
  const limit = data.threshold.value;
  const scores = [...data.good, ...data.inspections.map(({ score }) => score), limit];
  const low = Math.min(...scores);
  const high = Math.min(Math.max(...scores), limit > 0 ? 3 * limit : Infinity);
  const margin = 0.05 * (high - low) || Math.abs(high) || 1;
  const width = (high - low + 2 * margin) / N_BARS;
  const below = Math.ceil((limit - low + margin) / width);
  return [limit - below * width, limit + (N_BARS - below) * width];
}

function ticks(low, high) {
  const rough = (high - low) / 8;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * unit).find((size) => size >= rough);
  const decimals = Math.max(0, -Math.floor(Math.log10(step)));
  const found = [];
  for (let n = Math.ceil(low / step); n <= Math.floor(high / step); n += 1) found.push([n * step, (n * step).toFixed(decimals)]);
  return found;
}

function draw(data) {
  const [low, high] = ends(data);
  const x = (value) => (WIDTH * (Math.min(Math.max(value, low), high) - low)) / (high - low);
  // A score that equals the threshold is not above it, so a bar includes its upper end.
  const limitAt = Math.round(((data.threshold.value - low) / (high - low)) * N_BARS);
  const bin = (score) => {
    const place = limitAt - 1 + Math.ceil(((score - data.threshold.value) / (high - low)) * N_BARS);
    return Math.min(Math.max(place, 0), N_BARS - 1);
  };
  const counts = Array.from({ length: N_BARS }, () => ({ good: 0, unsure: 0, defective: 0, learned: 0 }));
  data.inspections.forEach(({ score, final }) => { counts[bin(score)][final] += 1; });
  data.good.forEach((score) => { counts[bin(score)].learned += 1; });
  const total = (count) => VERDICTS.reduce((sum, verdict) => sum + count[verdict], 0);
  const most = Math.max(1, ...counts.map((count) => Math.max(total(count), count.learned)));
  const parts = [];
  const width = WIDTH / N_BARS;
  counts.forEach((count, index) => {
    let top = BASE;
    for (const verdict of VERDICTS.filter((name) => count[name])) {
      const height = Math.max(3, (TALLEST * count[verdict]) / most);
      top -= height;
      const bar = drawn("rect", { class: verdict, x: index * width + 1, y: top, width: width - 2, height });
      bar.append(drawn("title", {}, t(`threshold.bar.${verdict}`, { n: count[verdict] })));
      parts.push(bar);
    }
    if (count.learned) {
      const height = Math.max(3, (TALLEST * count.learned) / most);
      parts.push(drawn("rect", { class: "learned", x: index * width + 1, y: BASE - height, width: width - 2, height }));
    }
  });
  parts.push(drawn("line", { class: "axis", x1: 0, x2: WIDTH, y1: BASE, y2: BASE }));
  ticks(low, high).forEach(([value, label]) => {
    parts.push(drawn("text", { x: x(value), y: BASE + 28, "text-anchor": "middle" }, label));
  });
  parts.push(drawn("line", { class: "now", x1: x(data.threshold.value), x2: x(data.threshold.value), y1: 26, y2: BASE }));
  const lower = data.threshold.unsure?.value;
  if (lower !== undefined) parts.push(drawn("line", { class: "now", x1: x(lower), x2: x(lower), y1: 60, y2: BASE }));
  const limit = drawn("line", { class: "limit", y1: 26, y2: BASE });
  const name = drawn("text", { class: "limit-name", y: 18 });
  svg.replaceChildren(...parts, limit, name);
  document.querySelector("#histogram-about").textContent = t("threshold.about", { n: data.inspections.length, good: data.good.length });
  return (value) => {
    const place = x(value);
    limit.setAttribute("x1", place);
    limit.setAttribute("x2", place);
    name.setAttribute("x", place);
    name.setAttribute("text-anchor", place < 120 ? "start" : place > 880 ? "end" : "middle");
    name.textContent = `${t("threshold.limit")} ${shown(value)}`;
  };
}

function outcome(data, value) {
  const above = data.inspections.filter(({ score }) => score > value);
  const say = (id, n, all) => { document.querySelector(id).textContent = all ? t("threshold.of", { n, all }) : "–"; };
  const decided = (verdict) => data.inspections.filter((each) => each.decided === verdict);
  document.querySelector("#at-value").textContent = shown(value);
  say("#at-stopped", above.length, data.inspections.length);
  say("#at-false", above.filter((each) => each.decided === "good").length, decided("good").length);
  say("#at-missed", decided("defective").filter(({ score }) => score <= value).length, decided("defective").length);
  say("#at-good", data.good.filter((score) => score > value).length, data.good.length);
}

async function load() {
  const data = await send("GET", `/api/v1/parts/${encodeURIComponent(section.dataset.part)}/threshold`);
  const [low, high] = ends(data);
  const move = draw(data);
  const field = document.querySelector("#set-value [name=value]");
  const show = (value) => {
    move(value);
    outcome(data, value);
    slider.setAttribute("aria-valuetext", shown(value));
  };
  const place = (value) => { slider.value = (1000 * (value - low)) / (high - low); };
  slider.oninput = () => {
    const value = low + ((high - low) * slider.value) / 1000;
    if (field) field.value = shown(value);
    show(value);
  };
  if (field) {
    field.value = data.threshold.value;
    // A limit by hand keeps the rate of the lower one, which the form beside it may just have changed.
    field.form.elements.unsure.value = data.threshold.unsure?.alpha ?? "";
    field.oninput = () => {
      if (!Number.isFinite(field.valueAsNumber)) return;
      place(field.valueAsNumber);
      show(field.valueAsNumber);
    };
  }
  place(data.threshold.value);
  show(data.threshold.value);
}

if (section) {
  const tried = () => load().catch((error) => { document.querySelector("#histogram-about").textContent = error.message; });
  tried();
  document.addEventListener("changed", tried);
}
