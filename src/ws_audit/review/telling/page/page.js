"use strict";
for (const box of document.querySelectorAll(".filter")) {
  box.hidden = false;
  const input = box.querySelector("input");
  const section = box.parentElement;
  const rows = [...section.querySelectorAll("tr[data-people]")];
  const said = box.querySelector("output");
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toLowerCase();
    let found = 0;
    for (const row of rows) {
      row.hidden = !row.dataset.people.includes(wanted);
      found += row.hidden ? 0 : 1;
    }
    if (wanted) for (const it of section.querySelectorAll("details")) it.open = true;
    said.textContent = wanted ? found.toLocaleString("en") + " found" : "";
  });
}
const closed = new Set();
addEventListener("beforeprint", () => {
  for (const it of document.querySelectorAll("details:not([open])")) { closed.add(it); it.open = true; }
});
addEventListener("afterprint", () => { for (const it of closed) it.open = false; closed.clear(); });
