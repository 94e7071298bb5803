// Whether the chain of the audit log holds.
import { send, t, tell } from "./api.js";

const button = document.querySelector("#verify");
button.addEventListener("click", async () => {
  button.disabled = true;
  const page = document.querySelector("main");
  try {
    const found = await send("GET", "/api/v1/audit/verify");
    if (found.is_whole) tell(page, "", t("audit.whole", { head: found.head }));
    else tell(page, `${t("audit.broken")} ${found.faults.join(" ")}`);
  } catch (error) {
    tell(page, error.message);
  } finally {
    button.disabled = false;
  }
});
