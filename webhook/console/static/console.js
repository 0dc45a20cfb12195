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

// Enter saves nothing where only a button does; in a key's field it goes on to the next one.
document.addEventListener("keydown", (event) => {
  const field = event.target;
  if (event.key !== "Enter" || !field.matches("[data-enter-saves-not] input")) return;
  event.preventDefault();
  const accept = field.closest("dialog")?.querySelector("[data-accepts]");
  if (accept) accept.click();
  if (field.name === "key" && field.value.trim()) nextKey(field).focus();
});

const nextKey = (field) => {
  const keys = [...document.getElementsByName("key")];
  const next = keys[keys.indexOf(field) + 1];
  if (next) return next;
  const added = field.cloneNode();
  added.value = "";
  added.removeAttribute("autofocus");
  added.setAttribute("aria-label", `Training key ${keys.length + 1}`);
  field.after(added);
  return added;
};

// The OK of a number: it is told beside the dialog's button, or what is wrong with it.
const WHOLE = /^([0-9]{1,18}|[0-9]{1,3}(,[0-9]{3}){1,5})$/;
document.addEventListener("click", (event) => {
  const accept = event.target.closest("[data-accepts]");
  if (!accept) return;
  const field = document.getElementById(accept.dataset.accepts);
  const given = field.value.trim();
  field.setCustomValidity(!given || WHOLE.test(given) ? "" : "Give a whole number.");
  if (!field.reportValidity()) return;
  const count = Number(given.replaceAll(",", ""));
  document.getElementById(accept.dataset.tells).textContent = given ? `${count.toLocaleString("en")} will be generated.` : "";
  accept.closest("dialog").close();
});
document.addEventListener("input", (event) => {
  if (event.target.validity?.customError) event.target.setCustomValidity("");
  const told = document.getElementById(event.target.dataset.counts);
  if (!told) return;
  const count = event.target.value.trim() ? event.target.value.trim().split("\n").length : 0;
  told.textContent = count ? `${count.toLocaleString("en")} ${count > 1 ? "lines are" : "line is"} pasted.` : "";
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

// Rows of a list that are selected: the bar of acts is there once one is, and tells how many.
for (const bar of document.querySelectorAll("[data-selected]")) {
  const rows = [...document.querySelectorAll(`[form="${bar.id}"][name=row]`)];
  const page = document.querySelector("[data-selects-page]");
  const all = bar.elements.namedItem("all");
  let latest = null;
  const tell = () => {
    const chosen = rows.filter((row) => row.checked).length;
    page.checked = chosen === rows.length;
    page.indeterminate = chosen > 0 && chosen < rows.length;
    bar.hidden = !chosen && !all.checked;
    bar.querySelector("output").textContent = all.checked ? "All that fit are selected." : `${chosen.toLocaleString("en")} selected`;
  };
  const check = (some, checked) => some.forEach((row) => { row.checked = checked; });
  const changed = (event) => {
    if (event.target === all || event.target === page) check(rows, event.target.checked);
    else if (!rows.includes(event.target)) return;
    if (event.target !== all) all.checked = false;
    tell();
  };
  document.addEventListener("change", changed);
  document.addEventListener("click", (event) => {
    const at = rows.indexOf(event.target);
    if (at < 0) return;
    if (event.shiftKey && latest !== null) check(rows.slice(Math.min(at, latest), Math.max(at, latest) + 1), event.target.checked);
    latest = at;
  });
  window.addEventListener("pageshow", tell);  // a browser may bring what was selected back
  tell();
}

// What an act would do is asked in a dialog, which opens when that is there or cannot come.
for (const came of ["htmx:afterSwap", "htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(came, (event) => {
    const dialog = event.detail.target?.id === "asking-part" && event.detail.target.closest("dialog");
    if (dialog && !dialog.open) dialog.showModal();
  });
}

// A price for each of many: what it comes to in all.
document.addEventListener("input", (event) => {
  const { times, tells } = event.target.dataset;
  if (!times) return;
  const price = event.target.value.trim();
  const sums = times.split(";").map((each) => each.split(" ")).map(([count, currency]) => (price * count).toLocaleString("en", { style: "currency", currency, currencyDisplay: "code" }));
  document.getElementById(tells).textContent = price && !Number.isNaN(Number(price)) ? `That is ${sums.join(" and ")} in all.` : "";
});

// A file that is dropped where lines are pasted is chosen there, and previewed; beside it nothing is opened.
for (const zone of document.querySelectorAll("[data-drops]")) {
  const field = zone.querySelector("[type=file]");
  const holds = (event) => [...event.dataTransfer.types].includes("Files");
  const over = (event) => {
    if (!holds(event)) return;
    event.preventDefault();
    zone.classList.toggle("dropping", event.type === "dragover" && zone.contains(event.target));
  };
  for (const moved of ["dragover", "dragleave", "drop"]) document.addEventListener(moved, over);
  const preview = () => field.form.querySelector("[data-previews]").click();
  zone.addEventListener("drop", (event) => {
    const { files } = event.dataTransfer;
    zone.querySelector("[role=alert]").hidden = files.length < 2;
    if (files.length !== 1) return;
    field.files = files;
    preview();
  });
  field.addEventListener("change", () => { if (field.files.length) preview(); });
}

// A click beside an open menu closes it, and so does Escape.
const closeMenus = (but) => document.querySelectorAll("details.dropdown[open]").forEach((menu) => {
  if (menu !== but) menu.open = false;
});
document.addEventListener("click", (event) => closeMenus(event.target.closest("details.dropdown")));
document.addEventListener("keydown", (event) => { if (event.key === "Escape") closeMenus(); });

// What a button copies is shown beside it; browsers copy on pages of https and of this machine alone.
for (const button of document.querySelectorAll("[data-copies]")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copies).textContent);
    const label = button.firstChild;
    label.textContent = "Copied";
    setTimeout(() => { label.textContent = "Copy"; }, 2000);
  });
}
