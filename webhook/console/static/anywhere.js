// Search everywhere, by “/” or Ctrl-K, and the shortcuts, by “?”. Keys that are typed into a field are the field's.
"use strict";

const anywhere = document.getElementById("anywhere");
if (anywhere) {
  const field = anywhere.querySelector("[role=combobox]");
  const found = document.getElementById("anywhere-found");
  const options = () => [...found.querySelectorAll("[role=option]")];
  const chosen = () => found.querySelector('[aria-selected="true"]');

  const choose = (next) => {
    chosen()?.setAttribute("aria-selected", "false");
    field.toggleAttribute("aria-activedescendant", false);
    if (!next) return;
    next.setAttribute("aria-selected", "true");
    next.scrollIntoView({ block: "nearest" });
    field.setAttribute("aria-activedescendant", next.id);
  };
  const open = () => {
    if (!anywhere.open) anywhere.showModal();
    field.focus();
    field.select();
  };
  const typing = (at) => at.closest("input, textarea, select, [contenteditable]");

  document.addEventListener("keydown", (event) => {
    const bare = !event.ctrlKey && !event.metaKey && !event.altKey && !typing(event.target);
    const busy = document.querySelector("dialog[open]");
    if (event.key === "k" && (event.ctrlKey || event.metaKey) && !event.altKey) {
      event.preventDefault();
      open();
    } else if (bare && !busy && event.key === "/") {
      event.preventDefault();
      open();
    } else if (bare && !busy && event.key === "?") {
      document.getElementById("shortcuts").showModal();
    }
  });
  document.querySelector("[data-anywhere]").addEventListener("click", (event) => {
    event.preventDefault();
    open();
  });
  field.addEventListener("keydown", (event) => {
    const all = options(), at = all.indexOf(chosen());
    if (event.key === "Enter") {
      event.preventDefault();
      if (chosen()) location.assign(chosen().href);
    }
    const next = { ArrowDown: at + 1, ArrowUp: at - 1 }[event.key];
    if (next === undefined || !all.length) return;
    event.preventDefault();
    choose(all[(next + all.length) % all.length]);
  });
  field.addEventListener("input", () => choose(null)); // Enter opens nothing that was found for other words
  found.addEventListener("htmx:afterSwap", () => choose(options()[0]));
  anywhere.addEventListener("click", (event) => { if (event.target === anywhere) anywhere.close(); });
}
