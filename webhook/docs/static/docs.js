// The API's page without scripts is whole; with them it can be searched, and requests can be tried.
"use strict";
const routes = [...document.querySelectorAll("details[data-path]")];
const search = document.querySelector("#search");
const token = document.querySelector("#token");
document.querySelectorAll(".scripted").forEach((part) => { part.hidden = false; });

search.addEventListener("input", () => {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const route of routes) {
    const text = route.querySelector("summary").textContent.toLowerCase();
    route.hidden = !words.every((word) => text.includes(word));
  }
  for (const section of document.querySelectorAll("main > section[id^=about-]")) {
    section.hidden = !section.querySelector("details[data-path]:not([hidden])");
  }
});

function request(form, route) {
  const given = new FormData(form), query = new URLSearchParams();
  let path = route.dataset.path;
  for (const field of form.querySelectorAll("[data-in]")) {
    const value = given.get(field.name);
    if (field.dataset.in === "path") path = path.replace(`{${field.dataset.name}}`, encodeURIComponent(value));
    else if (value !== "") query.append(field.dataset.name, value);
  }
  const headers = token.value ? { Authorization: `Bearer ${token.value.trim()}` } : {};
  const body = form.querySelector("textarea");
  if (body) headers["Content-Type"] = "application/json";
  const address = query.size ? `${path}?${query}` : path;
  return [address, { method: route.dataset.method.toUpperCase(), headers, body: body && body.value, credentials: "omit" }];
}

for (const form of document.querySelectorAll("form.try")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const shown = form.querySelector("output"), button = form.querySelector("button");
    button.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(...request(form, form.closest("details[data-path]")));
      const text = await answer.text();
      const isJson = (answer.headers.get("Content-Type") || "").includes("json");
      shown.textContent = `${answer.status}\n${isJson ? JSON.stringify(JSON.parse(text), null, 2) : text.slice(0, 20000)}`;
    } catch (error) {
      shown.textContent = `Nothing came back: ${error.message}`;
    } finally {
      button.removeAttribute("aria-busy");
    }
  });
}
