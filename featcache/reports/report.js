"use strict";
// Sorting, colours and hints. The page says everything without this script.

const root = document.documentElement;

// Colours: the choice is remembered where the browser allows it.
const themes = document.querySelector(".themes");
function setTheme(scheme) {
  root.style.colorScheme = scheme;
  for (const button of themes.children) {
    button.setAttribute("aria-pressed", String(button.dataset.theme === scheme));
  }
}
themes.hidden = false;
themes.addEventListener("click", (event) => {
  const scheme = event.target.dataset.theme;
  if (!scheme) return;
  setTheme(scheme);
  try { localStorage.setItem("featcache-theme", scheme); } catch { /* private window */ }
});
try {
  const kept = localStorage.getItem("featcache-theme");
  if (kept) setTheme(kept);
} catch { /* private window */ }

// Sorting: within each group of rows; means stay below what they are the means of.
function keyOf(row, column) {
  const cell = row.cells[column];
  if (!cell || cell.classList.contains("text") || column === 0) {
    const text = cell ? cell.textContent.trim() : "";
    const number = Number(text.split(" ")[0]);
    return text !== "" && Number.isFinite(number) ? number : text;
  }
  return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
}
function compare(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
}
function sortBody(body, column, sign) {
  const fixed = (row) => row.matches(".heading, .mean, .group-mean");
  const rows = [...body.rows].filter((row) => !fixed(row));
  const end = [...body.rows].find((row) => row.matches(".mean, .group-mean")) ?? null;
  rows.sort((a, b) => {
    const [x, y] = [keyOf(a, column), keyOf(b, column)];
    return x === null || y === null ? compare(x, y) : sign * compare(x, y);
  });
  for (const row of rows) body.insertBefore(row, end);
}
for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const numeric = head.classList.contains("number");
      const before = head.getAttribute("aria-sort");
      const falling = before ? before === "ascending" : numeric;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      for (const body of table.tBodies) sortBody(body, column, falling ? -1 : 1);
    });
  });
}

// Hints: what a point of a figure stands for.
const tip = document.getElementById("tip");
function showTip(event) {
  const target = event.target.closest("[data-tip]");
  tip.hidden = !target;
  if (!target) return;
  tip.textContent = target.dataset.tip;
  const { width, height } = tip.getBoundingClientRect();
  const left = Math.min(event.clientX + 12, window.innerWidth - width - 8);
  const above = event.clientY - height - 12;
  tip.style.left = `${Math.max(left, 8)}px`;
  tip.style.top = `${above < 8 ? event.clientY + 16 : above}px`;
}
document.addEventListener("pointerover", showTip);
document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });

window.addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
