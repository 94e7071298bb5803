// No module: it runs before the page is drawn. A form that is sent before its script is there waits for it; the browser
// alone would put the fields, passwords too, into the address.
let isReady = false;
let early = null;
document.addEventListener("submit", (event) => {
  if (isReady || "go" in event.target.dataset) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  early = [event.target, event.submitter];
}, true);
document.addEventListener("DOMContentLoaded", () => { // modules have run by then
  isReady = true;
  if (early) early[0].requestSubmit(early[1]);
});
