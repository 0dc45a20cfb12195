// Charts say a day's value on hover, and by the arrow keys; a click or Enter opens the day's list.
"use strict";

for (const plot of document.querySelectorAll("[data-plot]")) {
  const drawing = plot.querySelector("svg");
  const told = plot.querySelector("[data-told]");
  const days = [...drawing.querySelectorAll("g")];
  let at = days.length - 1;

  const show = (next) => {
    days[at].classList.remove("shown");
    at = Math.min(Math.max(next, 0), days.length - 1);
    days[at].classList.add("shown");
    told.textContent = days[at].dataset.words;
    drawing.setAttribute("aria-valuenow", at + 1);
    drawing.setAttribute("aria-valuetext", told.textContent);
  };
  const leave = () => {
    if (document.activeElement === drawing) return;
    days[at].classList.remove("shown");
    told.textContent = "";
  };
  const open = () => { if (days[at].dataset.opens) location.assign(days[at].dataset.opens); };

  drawing.setAttribute("role", "slider");
  drawing.setAttribute("tabindex", "0");
  drawing.setAttribute("aria-valuemin", 1);
  drawing.setAttribute("aria-valuemax", days.length);
  drawing.setAttribute("aria-valuenow", days.length);
  drawing.setAttribute("aria-valuetext", days[at].dataset.words);
  days.forEach((day, place) => day.addEventListener("pointerenter", () => show(place)));
  drawing.addEventListener("pointerleave", leave);
  drawing.addEventListener("click", open);
  drawing.addEventListener("focus", () => show(at));
  drawing.addEventListener("blur", leave);
  drawing.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: days.length - 1 };
    if (event.key === "Enter") open();
    if (!(event.key in steps)) return;
    event.preventDefault();
    show(steps[event.key]);
  });
}
