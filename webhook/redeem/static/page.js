// A key behind # in the address, as links and QR codes have it, is put into the form: no server sees it there.
const key = decodeURIComponent(location.hash.slice(1)).trim();
const field = document.querySelector("input[name=key]");
if (key && key !== "main" && field && !field.value) {
  field.value = key;
  for (const link of document.querySelectorAll("nav a")) link.hash = location.hash;
}
