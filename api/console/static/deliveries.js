// The times of the filter in the viewer's own zone; what is sent is UTC, as it is without the script.
"use strict";

for (const field of document.querySelectorAll("input[type=datetime-local]")) {
  const sent = document.createElement("input");
  sent.type = "hidden";
  sent.name = field.name;
  const show = () => { sent.value = field.value ? new Date(field.value).toISOString() : ""; };
  if (field.value) {
    const at = new Date(`${field.value}Z`);
    field.value = new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
  }
  field.removeAttribute("name");
  field.after(sent);
  field.addEventListener("input", show);
  show();
  const label = document.querySelector(`label[for="${field.id}"]`);
  for (const node of label.childNodes) {
    if (node.nodeType === Node.TEXT_NODE) node.textContent = node.textContent.replace(" (UTC)", "");
  }
}
