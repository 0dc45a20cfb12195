// On a phone a table's rows are cards (console.css): each cell is labelled with its column's head.
"use strict";

const labelCells = (within) => {
  for (const table of within.querySelectorAll("table.striped")) {
    const heads = [...table.querySelectorAll("thead th")].map((head) => head.querySelector(".hidden") ? "" : head.textContent.trim());
    table.classList.add("cards");
    for (const row of table.querySelectorAll("tbody tr")) {
      [...row.children].forEach((cell, at) => { if (heads[at]) cell.dataset.label = heads[at]; });
    }
  }
};
labelCells(document);
document.addEventListener("htmx:afterSettle", (event) => labelCells(event.target));
