// A CRM's form: lines of the field table come and go, and the CRM's own fields are offered.
"use strict";

const mapForm = document.getElementById("destination-form");
const mapRows = document.getElementById("map-rows");
const rowTemplate = document.getElementById("map-row-template");
const fieldsNote = document.getElementById("crm-fields-note");

function countRows() {
  [...mapRows.children].forEach((row, at) => {
    row.setAttribute("aria-label", `Field ${at + 1}`);
    for (const element of row.querySelectorAll("[id], [for], [aria-describedby]")) {
      for (const name of ["id", "for", "aria-describedby"]) {
        const value = element.getAttribute(name);
        if (value) element.setAttribute(name, value.replace(/-\d+(?=$| )/g, `-${at}`));
      }
    }
    row.querySelector("[data-removes-row]").value = at;
    row.querySelector("[data-row-name]").textContent = ` field ${at + 1}`;
  });
}

function isEmpty(row) {
  return !row.querySelector("[name=map_source]").value && !row.querySelector("[name=map_field]").value;
}

function addRow(source, name) {
  // The empty line at the end is taken, not left.
  const last = mapRows.lastElementChild;
  const row = source && last && isEmpty(last) ? last : rowTemplate.content.firstElementChild.cloneNode(true);
  mapRows.append(row);
  countRows();
  row.querySelector("[name=map_source]").value = source;
  const field = row.querySelector("[name=map_field]");
  if (name && knownField(name)) field.value = name;
  saysOf(row);
  row.querySelector(source ? "[name=map_field]" : "[name=map_source]").focus();
  mapForm.dispatchEvent(new Event("aftercall:look"));
}

function removeRow(row) {
  const next = row.nextElementSibling ?? row.previousElementSibling;
  row.remove();
  if (!mapRows.children.length) mapRows.append(rowTemplate.content.firstElementChild.cloneNode(true));
  countRows();
  (next ?? mapRows.firstElementChild).querySelector("[name=map_source]").focus();
  mapForm.dispatchEvent(new Event("aftercall:look"));
}

function knownField(name) {
  return [...document.getElementById("crm-fields").options].find((one) => one.value === name);
}

// What the CRM says of the field that is typed; nothing while its fields are not known.
function saysOf(row) {
  const says = row.querySelector("[data-field-says]");
  const name = row.querySelector("[name=map_field]").value.trim();
  const list = document.getElementById("crm-fields");
  const known = knownField(name);
  says.classList.toggle("is-unknown", Boolean(name && list.options.length && !known));
  if (!name || !list.options.length) says.textContent = "";
  else if (!known) says.textContent = "There is no such field that can be written.";
  else says.textContent = [known.textContent, known.dataset.type, known.dataset.choices].filter(Boolean).join(" · ");
}

async function askForFields() {
  const answer = await fetch(fieldsNote.dataset.fields, { headers: { Accept: "text/plain" } });
  if (!answer.ok) return;
  const template = document.createElement("template");
  template.innerHTML = await answer.text();
  for (const fresh of [...template.content.children]) document.getElementById(fresh.id)?.replaceChildren(...fresh.childNodes);
  for (const row of mapRows.children) saysOf(row);
}

if (mapRows) {
  mapForm.addEventListener("click", (event) => {
    const button = event.target.closest("[data-adds-row], [data-removes-row]");
    if (!button) return;
    event.preventDefault();
    if ("addsRow" in button.dataset) addRow(button.value, button.dataset.name);
    else removeRow(button.closest("[data-map-row]"));
  });
  mapForm.addEventListener("input", (event) => {
    if (event.target.name === "map_field") saysOf(event.target.closest("[data-map-row]"));
  });
  if (fieldsNote.dataset.fields) askForFields().catch(() => {});
}
