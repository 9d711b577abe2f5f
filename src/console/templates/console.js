// Keeps the parts of the page fresh. Without it the page is whole; it only stands still.
"use strict";
(() => {
  const parts = [...document.querySelectorAll("[data-part]")];
  const state = document.querySelector("[data-live]");
  const failures = { count: 0 };

  const say = (word) => {
    if (state && state.dataset.live !== word) {
      state.dataset.live = word;
      state.textContent = word === "live" ? "live" : "no answer, trying again";
    }
  };

  // The server escapes; the browser's parser builds the part without running anything of it.
  const put = (part, text) => {
    if (part.contains(document.activeElement) && document.activeElement !== document.body) return;
    const fresh = new DOMParser().parseFromString(text, "text/html").body;
    const before = new Set([...part.querySelectorAll("[data-key]")].map((row) => row.dataset.key));
    if (before.size) {
      for (const row of fresh.querySelectorAll("[data-key]")) {
        if (!before.has(row.dataset.key)) row.classList.add("fresh");
      }
    }
    const open = [...part.querySelectorAll("details[open][id]")].map((one) => one.id);
    part.replaceChildren(...fresh.childNodes);
    for (const one of part.querySelectorAll("details[id]")) one.open = open.includes(one.id);
  };

  const refresh = async () => {
    if (!document.hidden) {
      try {
        await Promise.all(parts.map(async (part) => {
          const answer = await fetch(part.dataset.part, { headers: { Accept: "text/html" } });
          if (!answer.ok) throw new Error(String(answer.status));
          put(part, await answer.text());
        }));
        failures.count = 0;
        say("live");
      } catch {
        failures.count += 1;
        say("away");
      }
    }
    setTimeout(refresh, Math.min(2000 * 2 ** failures.count, 15000));
  };

  if (parts.length) {
    say("live");
    setTimeout(refresh, 2000);
  }
})();
