// The list of calls and a call's page: what they can do better with a script.
"use strict";

// ---- filters ------------------------------------------------------------------

const filters = document.querySelector(".calls-filter");
if (filters) {
  filters.querySelector("[data-zone]").value = Intl.DateTimeFormat().resolvedOptions().timeZone || "";
  const dates = filters.querySelector("[data-dates]");
  const when = filters.elements.when;
  const show = () => { dates.hidden = when.value !== "dates"; dates.toggleAttribute("data-open", !dates.hidden); };
  when.addEventListener("change", () => { show(); if (!dates.hidden) dates.querySelector("input").focus(); });
  show();
  // What is not filled in has no business in the URL.
  filters.addEventListener("formdata", ({ formData }) => {
    for (const [name, value] of [...formData.entries()]) if (value === "") formData.delete(name);
    if (dates.hidden && when.value !== "today") formData.delete("zone");
    if (dates.hidden) { formData.delete("since"); formData.delete("until"); }
  });
}

// ---- rows that lead to a call -------------------------------------------------

document.addEventListener("click", (event) => {
  const row = event.target.closest("tr[data-href]");
  if (!row || event.target.closest("a, button, summary") || String(getSelection())) return;
  if (event.ctrlKey || event.metaKey) open(row.dataset.href, "_blank", "noopener");
  else location.assign(row.dataset.href);
});

// ---- what is loaded when it is asked for --------------------------------------

document.addEventListener("toggle", async ({ target }) => {
  if (!target.matches?.("details[data-loads]") || !target.open || target.dataset.state) return;
  const place = target.querySelector("[data-loaded]");
  const before = [...place.childNodes];
  target.dataset.state = "asked";
  place.textContent = "Loading…";
  try {
    const answer = await fetch(target.dataset.loads, { headers: { Accept: "text/plain" } });
    if (!answer.ok) throw new Error((await answer.json()).detail);
    place.innerHTML = await answer.text();
    aftercall.enhance(place);
  } catch (error) {
    delete target.dataset.state;
    place.replaceChildren(...before);
    const says = document.createElement("p");
    says.className = "fault";
    says.textContent = error.message || "It did not answer; try again";
    place.prepend(says);
  }
}, true);

// A menu closes when one leaves it.
document.addEventListener("click", ({ target }) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(target) || target.closest(".menu a")) menu.open = false;
});
document.addEventListener("keydown", ({ key }) => {
  if (key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) { menu.open = false; menu.querySelector("summary").focus(); }
});
