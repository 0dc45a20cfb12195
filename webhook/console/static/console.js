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
  if (button.dataset.fills) {
    const field = document.getElementById(button.dataset.fills);
    field.value = button.dataset.value;
    document.getElementById(button.dataset.closes).close();
    field.focus();
  }
});

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
