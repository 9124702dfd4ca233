"use strict";
// Asks for the page every ten seconds and puts what is new in its place, until the reader pauses it.
// Where nobody answers it says so: what stands there then is old. Without a script: the link Reload.
const EVERY_MS = 10_000;
const button = document.getElementById("live");
const stale = document.getElementById("stale");
let paused = false;
let failedSince = null;

function openDetails(id) {
  for (let at = document.getElementById(id); at; at = at.parentElement) {
    if (at.tagName === "DETAILS") at.open = true;
  }
}

function adopt(text) {
  const fresh = new DOMParser().parseFromString(text, "text/html");
  const open = [...document.querySelectorAll("details[open]")].map((details) => details.id);
  const places = [...document.querySelectorAll(".scroll")].map((box) => [box.scrollLeft, box.scrollTop]);
  const focused = document.activeElement?.getAttribute("href");
  document.title = fresh.title;
  for (const part of ["main", "footer", "header > p.quiet", "header"]) {
    const old = document.querySelector(part);
    const now = fresh.querySelector(part);
    if (!old || !now) continue;
    if (part === "header") {
      const badges = old.querySelectorAll(".badge");
      now.querySelectorAll(".badge").forEach((badge, index) => badges[index]?.replaceWith(badge));
    } else {
      old.replaceWith(now);
    }
  }
  open.forEach(openDetails);
  document.querySelectorAll(".scroll").forEach((box, index) => {
    [box.scrollLeft, box.scrollTop] = places[index] ?? [0, 0];
  });
  if (focused) {
    const link = [...document.querySelectorAll("main a, footer a")]
      .find((one) => one.getAttribute("href") === focused);
    if (link && document.activeElement === document.body) link.focus({ preventScroll: true });
  }
}

async function look() {
  if (paused || document.hidden || !document.getSelection().isCollapsed) return;
  try {
    const answer = await fetch(location.pathname, { cache: "no-store" });
    if (!answer.ok) throw new Error(`${answer.status}`);
    const text = await answer.text();
    if (paused) return;
    adopt(text);
    failedSince = null;
    stale.hidden = true;
  } catch {
    failedSince ??= new Date();
    const at = failedSince.toISOString().slice(0, 19).replace("T", " ");
    stale.textContent = `The proxy has not answered since ${at} UTC. What stands here is older.`;
    stale.hidden = false;
  }
}

button.hidden = false;
button.addEventListener("click", () => {
  paused = !paused;
  button.textContent = paused ? "Go on" : "Pause";
});
addEventListener("hashchange", () => openDetails(location.hash.slice(1)));
openDetails(location.hash.slice(1));
setInterval(look, EVERY_MS);
