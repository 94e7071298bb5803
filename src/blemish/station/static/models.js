// Model versions: a file from elsewhere, and two versions side by side.
import { again, drawn, element, send, shown, t, working } from "./api.js";

const upload = document.querySelector("#upload-model");
upload?.addEventListener("submit", (event) => {
  event.preventDefault();
  working(upload, async () => {
    const body = new FormData(upload);
    const query = new URLSearchParams({ why: body.get("why") });
    body.delete("why");
    await send("POST", `/api/v1/parts/${encodeURIComponent(upload.dataset.part)}/models?${query}`, body);
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

function told({ a, b, images, n_differing: differing }) {
  const names = [a, b].map(({ version }) => t("compare.version", { version }));
  const limits = [a, b].map(({ summary }) => shown(summary.threshold.value));
  const head = ["compare.image", null, null, "compare.people"].map((key, index) => (
    element("th", { scope: "col" }, key ? t(key) : names[index - 1])));
  const judged = ({ verdict: found, score }) => element("td", {}, verdict(found), element("small", {}, shown(score)));
  const rows = images.map((image) => element("tr", image.a.verdict === image.b.verdict ? {} : { class: "differs" },
    element("td", {}, element("a", { href: `/inspections/${image.id}` },
      element("img", { class: "thumb", src: `/api/v1/inspections/${image.id}/image?side=192`, alt: `#${image.sequence}` }))),
    judged(image.a),
    judged(image.b),
    element("td", {}, image.decided ? verdict(image.decided) : "–")));
  return [
    element("p", {}, t("compare.limits", { a: names[0], b: names[1], x: limits[0], y: limits[1] })),
    element("p", {}, element("b", {}, t("compare.differing", { n: differing, all: images.length }))),
    element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows)),
  ];
}

function verdict(found) {
  const icon = drawn("svg", { class: "icon", "aria-hidden": "true" });
  icon.append(drawn("use", { href: `/static/icons.svg#${found}` }));
  return element("span", { class: `verdict ${found}` }, icon, t(`verdict.${found}`));
}
