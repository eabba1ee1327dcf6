// Gives each frame of a message the height of its content. Nothing of a message runs: it is measured from here.
"use strict";

(() => {
  const most = 30000; // pixels: what is longer scrolls in its frame
  const watched = new WeakMap();

  function fit(frame) {
    const page = frame.contentDocument;
    if (!page?.body) return;
    const root = page.documentElement;
    const bar = root.scrollWidth > root.clientWidth ? 20 : 0; // a scroll bar below what is too wide
    frame.style.height = `${Math.min(most, Math.ceil(page.body.getBoundingClientRect().height) + bar + 2)}px`;
  }

  function watch(frame) {
    watched.get(frame)?.disconnect();
    const body = frame.contentDocument?.body;
    if (!body) return;
    const observer = new ResizeObserver(() => fit(frame));
    observer.observe(body);
    watched.set(frame, observer);
    fit(frame);
  }

  // "load" does not bubble, but is caught on its way down: so are frames that htmx brings later.
  document.addEventListener("load", (event) => {
    if (event.target.matches?.("iframe.mail-frame")) watch(event.target);
  }, true);
  for (const frame of document.querySelectorAll("iframe.mail-frame")) {
    if (frame.contentDocument?.readyState === "complete") watch(frame);
  }
})();
