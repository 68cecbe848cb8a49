// The way in: `#key=…` of the printed address becomes a cookie, and the address loses it. What follows an `&` stays.
"use strict";

const [key, ...rest] = location.hash.slice(1).split("&");

async function enter(key) {
  const headers = { "x-routeto-inspector": "1", "content-type": "application/json" };
  const response = await fetch("/_routeto/api/key", { method: "POST", headers, body: JSON.stringify({ key }) });
  if (response.ok) return location.reload();
  const said = await response.json().catch(() => ({}));
  throw new Error(said.error ?? `status ${response.status}`);
}

addEventListener("hashchange", () => location.reload());

if (key.startsWith("key=")) {
  history.replaceState(null, "", location.pathname + (rest.length ? `#${rest.join("&")}` : ""));
  enter(key.slice(4)).catch(error => { document.getElementById("said").textContent = `The key was refused: ${error.message}.`; });
}
