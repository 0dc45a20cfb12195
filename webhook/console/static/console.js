// What the pages do beyond plain forms. All of them work without it, in a plainer way.
"use strict";

// Browsers older than the command attribute: open and close dialogs for them.
const native = "commandForElement" in HTMLButtonElement.prototype;

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.confirm && !window.confirm(button.dataset.confirm)) event.preventDefault();
  if (!native && button.getAttribute("commandfor")) {
    const dialog = document.getElementById(button.getAttribute("commandfor"));
    if (button.getAttribute("command") === "close") dialog.close();
    else dialog.showModal();
  }
});

// A chooser: the search keeps the focus, arrows move along what it found, Enter or a click takes one.
for (const search of document.querySelectorAll("[data-chooses]")) {
  const list = document.getElementById(search.getAttribute("aria-controls"));
  const options = () => [...list.querySelectorAll("[data-value]")];
  const chosen = () => list.querySelector("[aria-selected=true]");
  let moved = null;  // where the arrows are: what comes meanwhile does not take it back
  const point = (option) => {
    chosen()?.removeAttribute("aria-selected");
    option?.setAttribute("aria-selected", "true");
    option?.scrollIntoView({ block: "nearest" });
    search.setAttribute("aria-activedescendant", option?.id ?? "");
  };
  const take = (option) => {
    const field = document.getElementById(search.dataset.chooses);
    field.value = option.dataset.value;
    search.closest("dialog").close();
    field.focus();
    field.dispatchEvent(new Event("change", { bubbles: true }));
  };
  list.addEventListener("htmx:afterSwap", () => {
    point(options().find((one) => one.dataset.value === moved) ?? options()[0]);
  });
  list.addEventListener("click", (event) => {
    const option = event.target.closest("[data-value]");
    if (option) take(option);
  });
  search.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const all = options();
    if (step && all.length) {
      const next = all[(all.indexOf(chosen()) + step + all.length) % all.length];
      moved = next.dataset.value;
      point(next);
    }
    if (event.key === "Enter" && chosen()) take(chosen());
    if (step || event.key === "Enter") event.preventDefault();
  });
}

// What does not come says so where it was to be.
for (const failure of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(failure, (event) => {
    const target = event.detail.target;
    if (!target?.dataset.failed) return;
    const told = Object.assign(document.createElement(target.matches("ul") ? "li" : "p"), { textContent: target.dataset.failed });
    told.setAttribute("role", "alert");
    target.replaceChildren(told);
  });
}

// Sections become tabs; without this file they follow one another.
for (const bar of document.querySelectorAll("[data-tabs]")) {
  const sections = [...bar.parentElement.querySelectorAll("[data-tab]")];
  const wrong = sections.findIndex((s) => s.querySelector('[aria-invalid="true"], .wrong'));
  const typed = sections.findIndex((s) => s.hasAttribute("data-open"));
  bar.setAttribute("role", "tablist");
  bar.setAttribute("aria-label", "Parts of the pool");
  const show = (chosen) => sections.forEach((section, at) => {
    section.hidden = at !== chosen;
    const tab = bar.children[at];
    tab.setAttribute("aria-selected", at === chosen);
    tab.tabIndex = at === chosen ? 0 : -1;
  });
  sections.forEach((section, at) => {
    const tab = document.createElement("button");
    tab.type = "button";
    tab.textContent = section.dataset.tab;
    tab.setAttribute("role", "tab");
    tab.id = `tab-${at}`;
    section.id = section.id || `panel-${at}`;
    tab.setAttribute("aria-controls", section.id);
    section.setAttribute("role", "tabpanel");
    tab.addEventListener("click", () => show(at));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = (at + step + sections.length) % sections.length;
      show(next);
      bar.children[next].focus();
    });
    bar.append(tab);
  });
  bar.hidden = false;
  show(Math.max(wrong >= 0 ? wrong : typed, 0));
}

// A click beside an open menu closes it, and so does Escape.
const closeMenus = (but) => document.querySelectorAll("details.dropdown[open]").forEach((menu) => {
  if (menu !== but) menu.open = false;
});
document.addEventListener("click", (event) => closeMenus(event.target.closest("details.dropdown")));
document.addEventListener("keydown", (event) => { if (event.key === "Escape") closeMenus(); });
