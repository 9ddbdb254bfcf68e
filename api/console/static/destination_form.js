// A destination's form: the preview while one types, and more rows for headers.
"use strict";

const form = document.getElementById("destination-form");
const preview = form?.querySelector("[data-preview]");
const button = form?.querySelector("[data-previews]");
// A star: everything but what is secret.
const WATCHED = new Set((preview?.dataset.watched ?? "").split(" "));
const SECRETS = new Set(["credential", "secret", "csrf_token"]);
const isWatched = (name) => WATCHED.has(name) || (WATCHED.has("*") && !SECRETS.has(name));
let pause = null;
let asked = 0;

async function look() {
  clearTimeout(pause);
  const mine = ++asked;
  preview.setAttribute("aria-busy", "true");
  const fields = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (isWatched(name)) fields.append(name, value);
  let html = "";
  try {
    html = await window.aftercall.post(preview.dataset.preview, fields);
  } catch (error) {
    // Of what was asked meanwhile the newest answer alone counts.
    if (mine === asked) say(error.message);
    return;
  }
  if (mine === asked) show(html);
}

function show(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  for (const fresh of [...template.content.children]) {
    const old = document.getElementById(fresh.id);
    if (old && !old.isEqualNode(fresh)) old.replaceChildren(...fresh.childNodes);
  }
  for (const field of form.querySelectorAll("[data-expression]")) {
    const isWrong = field.querySelector(".fault-area .fault") !== null;
    field.classList.toggle("has-fault", isWrong);
    const text = field.querySelector("textarea, input");
    if (isWrong) text.setAttribute("aria-invalid", "true");
    else text.removeAttribute("aria-invalid");
  }
  preview.removeAttribute("aria-busy");
  window.aftercall.enhance(preview);
}

function say(text) {
  const note = document.createElement("p");
  note.className = "preview-note bad";
  note.textContent = text;
  document.getElementById("preview").replaceChildren(note);
  preview.removeAttribute("aria-busy");
}

if (preview) {
  form.addEventListener("input", (event) => {
    if (!isWatched(event.target.name)) return;
    clearTimeout(pause);
    pause = setTimeout(look, 350);
  });
  form.addEventListener("aftercall:look", look);
  button.addEventListener("click", (event) => { event.preventDefault(); look(); });
  form.elements.preview_call_id.addEventListener("keydown", (event) => {
    if (event.key === "Enter") { event.preventDefault(); look(); }
  });
}

const adds = form?.querySelector("[data-adds-header]");
if (adds) {
  adds.hidden = false;
  adds.addEventListener("click", () => {
    const rows = document.getElementById("header-rows");
    const row = rows.lastElementChild.cloneNode(true);
    const number = rows.children.length + 1;
    row.querySelectorAll("input").forEach((input, at) => {
      input.value = "";
      input.setAttribute("aria-label", `Header ${number}: ${at ? "value" : "name"}`);
    });
    rows.append(row);
    row.querySelector("input").focus();
  });
}
