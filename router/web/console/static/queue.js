// The queue by keys, and as it changes. Every key is a button or link that shows it (data-key): a key clicks that,
// the list of keys and the palette are made of those. Without this file the page works by links and forms.
"use strict";

// Links work from the moment in which they are shown, not 20 ms later: a key may click them.
htmx.config.defaultSettleDelay = 0;

const main = document.querySelector("main[data-queue]");
const rows = document.getElementById("rows");
const opened = document.getElementById("opened");
const foot = document.getElementById("foot");
const news = document.getElementById("news");
const base = main?.dataset.queue;
const held = document.querySelector("ul.held");

const visible = (element) => element.getClientRects().length > 0;
const senders = () => [...(rows?.querySelectorAll("a.sender") ?? [])].filter(visible);
const current = () => rows?.querySelector("a.sender[aria-current]");
const rowOf = (address) => rows?.querySelector(`li[data-address="${CSS.escape(address)}"]`);
const address = () => opened?.querySelector("[data-sender]")?.dataset.sender ?? "";

// Keys

let lastKey = "";
let busy = 0; // while above 0, and while the sender that was chosen is not shown yet, keys do nothing

function hold(by) {
  busy += by;
  if (busy > 0) opened?.setAttribute("aria-busy", "true");
  else opened?.removeAttribute("aria-busy");
}

function keyed(key) {
  const has = (element) => element.dataset.key.split(" ").includes(key) && visible(element) && !element.disabled;
  const at = held?.querySelector("li[aria-current]");
  const places = [document.getElementById("confirm"), document.getElementById("panel"), foot, at, document];
  for (const place of places) {
    const found = [...(place?.querySelectorAll("[data-key]") ?? [])].find(has);
    if (found) return found;
  }
  return null;
}

function move(step) {
  const all = senders();
  const at = all.indexOf(current());
  const next = all[at < 0 ? 0 : Math.min(Math.max(at + step, 0), all.length - 1)];
  if (next && next !== current()) open(next);
}

// Held mail has no pane beside it: a key is about the message that is marked.
function moveHeld(step) {
  const all = [...held.querySelectorAll("li[data-held]")];
  const at = all.findIndex((one) => one.hasAttribute("aria-current"));
  const next = all[Math.min(Math.max(at + step, 0), all.length - 1)];
  for (const one of held.querySelectorAll("details[open]")) one.open = false;
  all[at]?.removeAttribute("aria-current");
  next?.setAttribute("aria-current", "true");
  next?.focus();
}

function open(row) {
  mark(row);
  row.focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
  load(row.getAttribute("hx-get"));
}

// Of two that are asked for, the later is shown: `rows` says so (hx-sync).
function load(url) {
  return htmx.ajax("GET", url, { source: rows, target: opened, swap: "innerHTML" }).catch(() => {});
}

function mark(row) {
  current()?.removeAttribute("aria-current");
  row?.setAttribute("aria-current", "true");
  // The rest of this sender's domain has a key, as j goes on to the next one.
  for (const more of rows?.querySelectorAll(".more [data-key]") ?? []) delete more.dataset.key;
  const more = row?.closest(".group")?.querySelector(".more a");
  if (more) more.dataset.key = "m";
}

document.addEventListener("keydown", (event) => {
  if ((event.metaKey || event.ctrlKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    openPalette();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || document.querySelector("dialog[open]")) return;
  const typing = event.target.matches("input, textarea, select");
  if (typing && event.key !== "Escape") {
    if (event.target.matches("input.find")) findByKey(event);
    return;
  }
  if (event.key === "Escape" && typing) event.target.blur();
  if (event.key === "?") return showKeys(event);
  if ((rows || held) && (event.key === "j" || event.key === "k")) {
    event.preventDefault();
    return (rows ? move : moveHeld)(event.key === "j" ? 1 : -1);
  }
  // A control that has the focus does what Enter does to it; so does the row of another sender.
  const focused = event.target.closest?.("button, a, summary");
  if (event.key === "Enter" && focused && focused !== current()) return;
  if (event.repeat || busy > 0) return;
  const again = document.querySelector("[data-confirm]");
  const twice = document.querySelector(`details[open] [data-again="${CSS.escape(event.key)}"]`);
  const found = again && event.key === lastKey ? again : twice && visible(twice) ? twice : keyed(event.key);
  if (!found) return;
  event.preventDefault();
  lastKey = event.key;
  act(found);
});

// Where nothing is typed yet, a number chooses what is proposed; else it may be of a name or an address.
function findByKey(event) {
  const proposed = event.target.value === "" && document.querySelector(`#found [data-key="${CSS.escape(event.key)}"]`);
  if (proposed) {
    event.preventDefault();
    lastKey = event.key;
    proposed.click();
  } else if (event.key === "Enter" || event.key === "ArrowDown") {
    // Never what was found before the last letter: one sees what one chooses.
    event.preventDefault();
    document.querySelector("#found .choice:enabled")?.focus();
  }
}

function act(element) {
  if (element.matches("input")) {
    element.focus();
    element.select();
  } else {
    element.click();
  }
}

// What can be done, as the page has it now

function actions() {
  const seen = new Set();
  return [...document.querySelectorAll("[data-key]")].filter(visible).flatMap((element) => {
    const key = element.dataset.key.split(" ")[0];
    const name = element.dataset.name ?? element.getAttribute("aria-label") ?? element.textContent.trim();
    return seen.has(key) ? [] : (seen.add(key), [{ key, name, element }]);
  });
}

function showKeys(event) {
  const dialog = document.getElementById("keys");
  if (!dialog) return;
  event.preventDefault();
  const list = dialog.querySelector("dl");
  // The page lists what is always there, or will be once a sender is open; what else it has now comes below.
  for (const line of list.querySelectorAll("[data-now]")) line.remove();
  const known = new Set([...list.querySelectorAll("kbd")].map((one) => one.textContent));
  list.append(...actions().filter((one) => !known.has(one.key)).map((one) => {
    const line = document.createElement("div");
    line.dataset.now = "";
    const term = line.appendChild(document.createElement("dt"));
    term.appendChild(document.createElement("kbd")).textContent = one.key;
    line.appendChild(document.createElement("dd")).textContent = one.name;
    return line;
  }));
  dialog.showModal();
}

const palette = document.getElementById("palette");
let choices = [];
let chosen = 0;

function openPalette() {
  if (!palette || palette.open) return;
  const pages = [...document.querySelectorAll(".bar nav a")].map((one) => ({ key: "", name: `Go to ${one.textContent}`, element: one }));
  choices = [...actions(), ...pages];
  palette.querySelector("input").value = "";
  palette.showModal();
  listChoices();
}

function listChoices() {
  const input = palette.querySelector("input");
  const words = input.value.toLowerCase().split(/\s+/);
  const shown = choices.filter((one) => words.every((word) => one.name.toLowerCase().includes(word)));
  chosen = Math.min(Math.max(chosen, 0), Math.max(shown.length - 1, 0));
  const list = palette.querySelector("[role=listbox]");
  list.replaceChildren(...shown.map((one, n) => {
    const option = document.createElement("div");
    option.role = "option";
    option.id = `choice-${n}`;
    option.ariaSelected = String(n === chosen);
    option.textContent = one.name;
    if (one.key) option.appendChild(document.createElement("kbd")).textContent = one.key;
    option.addEventListener("click", () => choose(one));
    return option;
  }));
  input.setAttribute("aria-activedescendant", shown.length ? `choice-${chosen}` : "");
  list.children[chosen]?.scrollIntoView({ block: "nearest" });
  return shown[chosen];
}

function choose(one) {
  palette.close();
  lastKey = one.key;
  act(one.element);
}

palette?.addEventListener("input", () => { chosen = 0; listChoices(); });
palette?.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    chosen += event.key === "ArrowDown" ? 1 : -1;
    listChoices();
  } else if (event.key === "Enter") {
    event.preventDefault();
    const one = listChoices();
    if (one) choose(one);
  }
});

// Opening and leaving

document.addEventListener("click", (event) => {
  const cancel = event.target.closest("[data-cancel]");
  const back = event.target.closest("[data-back]");
  const row = event.target.closest("a.sender");
  if (cancel && opened?.contains(cancel)) {
    event.preventDefault();
    cancel.closest("#confirm, #panel").replaceChildren();
    current()?.focus({ preventScroll: true });
  } else if (back && rows) {
    event.preventDefault();
    main.classList.remove("is-open");
    current()?.focus();
  } else if (row && rows?.contains(row)) {
    mark(row);
  }
});

for (const choice of document.querySelectorAll(".filters select, .filters [list]")) {
  choice.addEventListener("change", () => choice.form.requestSubmit());
}

function holdsKeys(event) {
  const { requestConfig, target, elt } = event.detail;
  return requestConfig.verb === "post" || target === opened || elt.matches(".acts a");
}

document.addEventListener("htmx:beforeRequest", (event) => {
  const { requestConfig, xhr, target, pathInfo } = event.detail;
  const row = requestConfig.verb === "post" && pathInfo.requestPath.endsWith("/queue/rule") ? rowOf(requestConfig.formData.get("subject")) : null;
  row?.classList.add("leaving");
  // What is shown is still the sender before: nothing is ruled on unseen. And what one types for a panel is no key.
  const holds = holdsKeys(event);
  if (holds) hold(1);
  // By the request itself: an event of htmx's is lost with a row that is replaced meanwhile.
  xhr.addEventListener("loadend", () => {
    if (holds) hold(-1);
    row?.classList.remove("leaving");
    if (xhr.status >= 400 && ![409, 422].includes(xhr.status)) failed(target, "The console could not do that. Nothing was changed: try it again.");
  });
  xhr.addEventListener("error", () => failed(target, "The console does not answer. Nothing is lost: try it again."));
});

function failed(target, words) {
  if (target === opened) opened.replaceChildren();
  if (foot) foot.textContent = words;
}

// Why something was refused is shown where it was asked for.
document.addEventListener("htmx:beforeSwap", (event) => {
  if ([409, 422].includes(event.detail.xhr.status)) {
    event.detail.shouldSwap = true;
    event.detail.isError = false;
  }
});
document.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target === opened) {
    main.classList.add("is-open");
    look();
    // What is reloaded, or handed to a colleague, is the sender that one sees.
    const here = opened.querySelector("[data-here]")?.dataset.here;
    history.replaceState(null, "", here ?? (main.dataset.query ? `${base}?${main.dataset.query}` : base));
  }
  const target = event.detail.target;
  const begin = target.querySelector?.("[data-focus], [data-confirm]");
  begin?.focus();
  if (begin?.matches("input")) begin.select(); // a guess is taken by Enter, and another name typed over it
  const refused = target.querySelector?.("[data-refused]");
  if (refused?.hasAttribute("data-gone")) {
    const row = rowOf(refused.dataset.refused);
    if (row) {
      row.classList.add("settled");
      row.querySelector(".what").textContent = refused.textContent;
    }
  }
});

function clear() {
  for (const id of ["confirm", "panel"]) document.getElementById(id)?.replaceChildren();
}

function rowsOf(subject) {
  const all = [...(rows?.querySelectorAll("li[data-address]") ?? [])];
  return all.filter((row) => subject.startsWith("@") ? row.dataset.address.endsWith(subject) : row.dataset.address === subject);
}

function leave(gone) {
  for (const row of gone) {
    const group = row.closest(".group");
    row.remove();
    if (group && !group.querySelector("a.sender")) group.remove();
  }
}

document.addEventListener("ruled", (event) => {
  const subject = event.detail.subject;
  const gone = rowsOf(subject);
  const all = senders();
  const last = gone.length ? all.indexOf(gone[gone.length - 1].querySelector("a")) : -1;
  const next = all.slice(last + 1).find((one) => !gone.includes(one.closest("li"))) ?? all.filter((one) => !gone.includes(one.closest("li"))).at(-1);
  leave(gone);
  clear();
  if (next) open(next);
  else show("");
  if (!senders().length) refresh();
});
document.addEventListener("undone", (event) => {
  const subject = event.detail.subject;
  clear();
  hold(1);
  refresh().then(() => {
    const row = rowsOf(subject)[0]?.querySelector("a");
    if (row) open(row);
  }).finally(() => hold(-1));
});
document.addEventListener("cared", (event) => {
  clear();
  change([event.detail.subject]);
  show(event.detail.subject);
});

function show(sender) {
  const query = new URLSearchParams(main.dataset.query);
  query.set("sender", sender);
  return load(`${base}/sender?${query}`);
}

// What changes while one works. What is listed changes in its place; what comes anew waits for a moment in which
// nothing moves under the pointer: at the top of the list, and not in it.

const waiting = new Set();
let refreshing = null;

function mayMove() {
  return rows.scrollTop < 4 && !rows.matches(":hover") && !document.querySelector("dialog[open]");
}

// A part of the page; null where the console does not answer now: what is missed is read again when it does.
async function fetched(url) {
  try {
    const answer = await fetch(url);
    if (!answer.ok || answer.redirected) return null;
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  } catch {
    return null;
  }
}

// What has changed comes with the news, or is asked for where it does not.
async function change(addresses, html) {
  if (!rows || !addresses.length) return;
  const query = new URLSearchParams(main.dataset.query);
  for (const one of addresses) query.append("address", one);
  const found = html ? new DOMParser().parseFromString(html, "text/html") : await fetched(`${base}/rows?${query}`);
  if (!found) return;
  document.getElementById("waiting").textContent = found.getElementById("waiting").textContent;
  const known = new Map([...found.querySelectorAll("li[data-address]")].map((row) => [row.dataset.address, row]));
  for (const one of addresses) {
    const now = known.get(one)?.cloneNode(true);
    const here = rowOf(one);
    if (here && now) {
      if (current() && here.contains(current())) now.querySelector("a").setAttribute("aria-current", "true");
      const focused = here.contains(document.activeElement);
      here.replaceWith(now);
      begin(now);
      if (focused) now.querySelector("a").focus({ preventScroll: true });
    } else if (!now && one === address() && busy === 0) {
      tellSettled(one);
      if (here && !here.classList.contains("settled")) leave([here]);
    } else if (here && !here.classList.contains("settled")) {
      leave([here]);
    } else if (now && main.dataset.plain === "yes") {
      waiting.add(one);
    }
    if (now && one === address()) tellLookers(now);
  }
  admit(known);
}

function begin(element) {
  htmx.process(element);
  document.dispatchEvent(new CustomEvent("htmx:load", { detail: { elt: element } }));
}

// Whose mail one reads is settled by somebody else: that is said above it, and what one reads stays.
async function tellSettled(sender) {
  const query = new URLSearchParams({ sender });
  const found = await fetched(`${base}/sender?${query}`);
  const words = found?.querySelector(".empty");
  if (!words || sender !== address()) return;
  const place = document.getElementById("confirm");
  const line = document.createElement("p");
  line.className = "fault";
  line.role = "alert";
  line.textContent = [...words.querySelectorAll("h2, p:not(:has(a))")].map((one) => one.textContent.trim()).join(": ");
  place?.replaceChildren(line);
}

function tellLookers(row) {
  const words = row.querySelector(".looks")?.textContent ?? "";
  const place = document.getElementById("lookers");
  if (!place) return;
  place.hidden = !words;
  const said = words ? `${words} at this, too.` : "";
  if (place.textContent !== said) place.textContent = said;
}

// Those whose groups have just come are put in without another request.
function admit(known = new Map()) {
  if (!rows) return;
  if (waiting.size && mayMove()) {
    const groups = new Set([...waiting].map((one) => known.get(one)?.closest(".group")));
    if (![...groups].every(isNewest)) refresh();
    else keepPlace(() => putFirst([...groups]));
    return;
  }
  news.hidden = !waiting.size;
  news.textContent = `${waiting.size} new`;
}

// What lay in a mailbox for long belongs further down.
function isNewest(group) {
  const newest = rows.querySelector("time")?.dateTime ?? "";
  return group && group.querySelector("time").dateTime >= newest;
}

function putFirst(groups) {
  rows.querySelector(".nobody")?.remove();
  const order = groups.sort((one, other) => one.querySelector("time").dateTime < other.querySelector("time").dateTime ? -1 : 1);
  for (const group of order) {
    rows.querySelector(`.group[data-part="${CSS.escape(group.dataset.part)}"]`)?.remove();
    rows.prepend(group);
    begin(group);
  }
}

// The list changes, and whoever is chosen in it stays so.
async function keepPlace(work) {
  const here = current()?.closest("li").dataset.address;
  const focused = rows.contains(document.activeElement);
  await work();
  waiting.clear();
  news.hidden = true;
  const row = here && rowOf(here)?.querySelector("a");
  if (row) mark(row);
  if (row && focused) row.focus({ preventScroll: true });
}

function refresh() {
  const list = () => htmx.ajax("GET", `${base}/list?${main.dataset.query}`, { target: rows, swap: "innerHTML" }).catch(() => {});
  refreshing ??= keepPlace(list).finally(() => { refreshing = null; });
  return refreshing;
}

news?.addEventListener("click", () => { rows.scrollTop = 0; refresh(); });
rows?.addEventListener("mouseleave", () => waiting.size && admit());
rows?.addEventListener("scroll", () => waiting.size && mayMove() && admit(), { passive: true });

function readAgain() {
  const listed = [...rows.querySelectorAll("li[data-address]")].map((row) => row.dataset.address);
  if (mayMove() && listed.length < 200) refresh();
  else change(listed.slice(0, 100));
}

let stream = null;
function listen() {
  if (!main || stream || document.hidden) return;
  stream = new EventSource(`${base}/events?${main.dataset.query}`);
  stream.addEventListener("open", () => { main.dataset.live = "yes"; });
  stream.addEventListener("senders", (event) => {
    const { senders: changed, html } = JSON.parse(event.data);
    change(changed, html);
  });
  stream.addEventListener("many", readAgain);
  stream.addEventListener("error", () => { main.dataset.live = "no"; });
}

// Who looks at whom: said again while the page is open and seen.
let looked = "";
function look() {
  const sender = document.hidden ? "" : address();
  if (looked && looked !== sender) say({ address: looked, away: "1" });
  looked = sender;
  if (sender) say({ address: sender });
}

function say(values) {
  const headers = JSON.parse(document.body.getAttribute("hx-headers") ?? "{}");
  fetch(`${base}/look`, { method: "POST", headers, body: new URLSearchParams(values), keepalive: true }).catch(() => {});
}

document.addEventListener("visibilitychange", () => {
  look();
  if (document.hidden) {
    stream?.close();
    stream = null;
  } else {
    listen();
    if (rows) readAgain();
  }
});
window.addEventListener("pagehide", () => looked && say({ address: looked, away: "1" }));

if (main) {
  mark(current());
  listen();
  look();
  setInterval(look, 40_000);
}
