// What pages can do better with a script: local times, copying, dialogs, phone numbers, live parts.
// Every page works without it. Markup asks for it by data attributes; docs/console.md lists them.
"use strict";

const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const full = new Intl.DateTimeFormat(undefined, {
  year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short",
});

// ---- times --------------------------------------------------------------------

function showTimes(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    if (!element.dataset.utc) element.dataset.utc = element.title;
    element.title = `${full.format(at)}\n${element.dataset.utc}`;
    element.textContent = "relative" in element.dataset ? relative(at) : shortDate(at);
  }
}

function shortDate(at) {
  const isThisYear = at.getFullYear() === new Date().getFullYear();
  return isThisYear ? day.format(at) : `${day.format(at)}, ${at.getFullYear()}`;
}

function relative(at) {
  const seconds = (Date.now() - at.getTime()) / 1000;
  const size = Math.abs(seconds);
  if (size < 5) return "just now";
  if (size >= 7 * 86400) return shortDate(at);
  const [length, unit] = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]].find(([one]) => size >= one);
  const text = `${Math.floor(size / length)} ${unit}`;
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

// ---- copying ------------------------------------------------------------------

async function copy(button) {
  const source = button.closest(".snippet, .copyable").querySelector("[data-copied]");
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = "Copied";
    announce("Copied");
  } catch {
    // Without https there is no clipboard: mark it, so that the keyboard can copy it.
    getSelection().selectAllChildren(source);
    button.textContent = "Press Ctrl+C";
  }
  setTimeout(() => { button.textContent = before; }, 2000);
}

function announce(text) {
  const place = document.getElementById("announcer");
  if (place) place.textContent = text;
}

// ---- phone numbers ------------------------------------------------------------

let arePhonesShown = false;

function showPhones(root) {
  for (const element of root.querySelectorAll("[data-phone]")) {
    if (!element.dataset.masked) element.dataset.masked = element.textContent;
    element.textContent = arePhonesShown ? element.dataset.phone : element.dataset.masked;
  }
}

function togglePhones(toggle) {
  arePhonesShown = !arePhonesShown;
  showPhones(document);
  toggle.textContent = `${arePhonesShown ? "Hide" : "Show"} phone numbers`;
  toggle.setAttribute("aria-pressed", String(arePhonesShown));
}

// ---- live parts ---------------------------------------------------------------

// A part that somebody is in the middle of is changed once they have left it.
const waiting = new Map();

function put(fresh) {
  const old = document.getElementById(fresh.id);
  if (!old || old.isEqualNode(fresh)) return;
  if (old.contains(document.activeElement) || old.querySelector("dialog[open], details[open]")) {
    waiting.set(fresh.id, fresh);
    return;
  }
  waiting.delete(fresh.id);
  old.replaceWith(fresh);
  enhance(fresh.parentNode);
}

function parse(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return [...template.content.children];
}

function prepend(into, html) {
  const place = document.getElementById(into);
  if (!place) return;
  for (const fresh of parse(html).reverse()) {
    // What is there already is newer only in how long ago it says that it was.
    if (fresh.id && document.getElementById(fresh.id)) continue;
    fresh.classList.add("fresh");
    place.prepend(fresh);
    const most = Number(place.dataset.most || 0);
    if (most && place.children.length > most) place.lastElementChild.remove();
  }
  enhance(place);
}

// `data-live="/path"` keeps what is below it up to date, while the page is looked at.
function watch(element) {
  let source = null;
  let said = "";
  const say = (state) => {
    said = state;
    for (const sign of element.querySelectorAll("[data-live-state]")) {
      sign.dataset.liveState = state;
      sign.textContent = state === "open" ? "Live" : "Not live";
    }
  };
  const stop = () => { source?.close(); source = null; say("closed"); };
  const start = () => {
    if (source || document.hidden) return;
    source = new EventSource(element.dataset.live);
    source.onopen = () => say("open");
    source.onerror = () => {
      say("closed");
      // Refused for good, or the network is away for long: the page still works.
      if (source?.readyState === EventSource.CLOSED) source = null;
    };
    source.addEventListener("replace", (event) => {
      parse(event.data).forEach(put);
      // The sign may have been replaced, too.
      say(said);
    });
    source.addEventListener("over", () => { document.removeEventListener("visibilitychange", turn); stop(); });
    for (const place of element.querySelectorAll("[data-live-prepends]")) {
      source.addEventListener(`prepend:${place.id}`, (event) => prepend(place.id, event.data));
    }
  };
  const turn = () => (document.hidden ? stop() : start());
  document.addEventListener("visibilitychange", turn);
  addEventListener("pagehide", stop);
  start();
}

// ---- forms --------------------------------------------------------------------

// For pages' own scripts: a POST with the session's token; the answer's text, or an Error to show.
async function post(path, fields) {
  const answer = await fetch(path, {
    method: "POST",
    headers: {
      "X-CSRF-Token": document.querySelector("meta[name=csrf-token]").content,
      Accept: "application/json, text/plain",
    },
    body: fields instanceof FormData ? fields : new URLSearchParams(fields),
  });
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({ detail: "It did not answer; try again" }));
    throw new Error(problem.detail);
  }
  return answer.text();
}

document.addEventListener("submit", (event) => {
  // A second press does not send it twice.
  const form = event.target;
  if (form.method !== "post" || event.defaultPrevented) return;
  if (form.dataset.sent) { event.preventDefault(); return; }
  form.dataset.sent = "yes";
  for (const button of form.querySelectorAll("button[type=submit]")) button.setAttribute("aria-disabled", "true");
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) {
    delete form.dataset.sent;
    for (const button of form.querySelectorAll("button[type=submit]")) button.removeAttribute("aria-disabled");
  }
});

// ---- everything ---------------------------------------------------------------

function enhance(root) {
  showTimes(root);
  if (arePhonesShown) showPhones(root);
}

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-copies], [data-opens], [data-closes], [data-phones-toggle]");
  if (!target) return;
  if ("copies" in target.dataset) copy(target);
  if ("opens" in target.dataset) { event.preventDefault(); document.getElementById(target.dataset.opens).showModal(); }
  if ("closes" in target.dataset) { event.preventDefault(); target.closest("dialog").close(); }
  if ("phonesToggle" in target.dataset && !("shown" in target.dataset)) { event.preventDefault(); togglePhones(target); }
});
document.addEventListener("keydown", (event) => {
  // A link that acts as a button obeys the space bar.
  if (event.key === " " && event.target.matches("a[role=button]")) { event.preventDefault(); event.target.click(); }
});
document.addEventListener("focusout", () => setTimeout(() => {
  for (const fresh of [...waiting.values()]) put(fresh);
}));

enhance(document);
// So that the server's days begin where the viewer's do.
document.cookie = `utc_offset=${-new Date().getTimezoneOffset()}; path=/; max-age=31536000; samesite=lax`;
// On a phone the navigation scrolls: the page that is open is in sight.
document.querySelector(".nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
setInterval(() => showTimes(document), 30_000);
for (const element of document.querySelectorAll("[data-live]")) watch(element);
window.aftercall = { announce, enhance, post };
