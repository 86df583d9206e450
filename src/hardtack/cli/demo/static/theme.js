// Light or dark: as the system has it, unless the visitor chose. Loaded in the head, so that no page flashes.
"use strict";

(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  const stored = () => {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null; // storage is switched off
    }
  };

  const current = () => root.dataset.theme || (system.matches ? "dark" : "light");

  const chosen = stored();
  if (chosen === "light" || chosen === "dark") {
    root.dataset.theme = chosen;
  }

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const label = document.getElementById("theme-label");
    const name = () => {
      label.textContent = current() === "dark" ? "Light colours" : "Dark colours";
    };
    button.hidden = false;
    name();
    system.addEventListener("change", name);
    button.addEventListener("click", () => {
      root.dataset.theme = current() === "dark" ? "light" : "dark";
      try {
        localStorage.setItem("theme", root.dataset.theme);
      } catch {
        // it lasts until the next page, then
      }
      name();
    });
  });
})();
