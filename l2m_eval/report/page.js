"use strict";
const root = document.documentElement;
const scheme = document.getElementById("scheme");
scheme.hidden = false;
const isDark = () => getComputedStyle(root).colorScheme === "dark";
const nameScheme = () => { scheme.textContent = isDark() ? "Light colours" : "Dark colours"; };
scheme.addEventListener("click", () => { root.dataset.scheme = isDark() ? "light" : "dark"; nameScheme(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", nameScheme);
nameScheme();
const keyOf = (row, column) => {
  const cell = row.cells[column];
  const value = cell.dataset.value;
  return value === undefined ? cell.textContent.trim() : value === "" ? NaN : Number(value);
};
const compare = (a, b) => {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
};
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows].map(row => [keyOf(row, column), row]);
      // What has no value stays at the end, whichever way the rest is sorted.
      const missing = key => typeof key === "number" && Number.isNaN(key);
      rows.sort(([a], [b]) => missing(a) || missing(b) ? missing(a) - missing(b) : (down ? -1 : 1) * compare(a, b));
      table.tBodies[0].append(...rows.map(([, row]) => row));
    });
  });
}
// The table of contents names the section that is read: the last whose heading has passed the top of the window.
const links = [...document.querySelectorAll("nav a")];
const heads = links.map(link => document.getElementById(link.hash.slice(1)));
const nameSection = () => {
  const end = innerHeight + scrollY >= root.scrollHeight - 2;
  const passed = heads.filter(head => head.getBoundingClientRect().top < innerHeight / 3).length;
  const current = links[end ? links.length - 1 : Math.max(passed - 1, 0)];
  if (!current || current.getAttribute("aria-current")) return;
  links.forEach(link => link.removeAttribute("aria-current"));
  current.setAttribute("aria-current", "true");
  const strip = current.closest("ul");
  strip.scrollLeft = current.offsetLeft - strip.offsetLeft - (strip.clientWidth - current.offsetWidth) / 2;
};
addEventListener("scroll", nameSection, { passive: true });
nameSection();
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach(details => { details.open = true; });
});
addEventListener("afterprint", () => opened.forEach(details => { details.open = false; }));
