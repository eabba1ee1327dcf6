// What pages do beyond links and forms: small, and nothing that is needed to work with them.
"use strict";

// The exact moment, in the reader's own time zone and locale, where the page has it in UTC. It is written once somebody
// points at it: of a long list nearly none is read, and all together would take longer than the page.
const moments = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "short" });
document.addEventListener("pointerover", (event) => {
  const time = event.target.closest?.("time[datetime]");
  const moment = new Date(time?.dateTime ?? NaN);
  if (!Number.isNaN(moment.valueOf())) time.title = moments.format(moment);
});

// The console reckons "tomorrow 9:00" in the reader's time zone.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone) document.cookie = `__Host-email-router-zone=${encodeURIComponent(zone)}; path=/; max-age=31536000; secure; samesite=lax`;

// On a narrow screen the pages are one row to scroll: it begins where one is.
const nav = document.querySelector(".bar > nav");
const here = nav?.querySelector("[aria-current=page]");
if (here && nav.scrollWidth > nav.clientWidth) nav.scrollLeft = here.offsetLeft - (nav.clientWidth - here.offsetWidth) / 2;

// One menu at a time; Escape and a click elsewhere close it.
function closeMenus(except) {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (menu !== except && !menu.contains(except)) menu.open = false;
  }
}

document.addEventListener("click", (event) => closeMenus(event.target));
document.addEventListener("focusin", (event) => closeMenus(event.target));
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const menu = document.activeElement?.closest("details.menu[open]");
  closeMenus(null);
  menu?.querySelector("summary").focus();
});
document.addEventListener("focusin", (event) => {
  if (event.target.matches?.("input.link")) event.target.select();
});
