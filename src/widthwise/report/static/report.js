"use strict";
// Sort and filter the table. Without this script the page is whole, the table only stays in order of rank.
const table = document.querySelector("#rows");
const body = table.tBodies[0];
const rows = Array.from(body.rows);
const search = document.querySelector("#search");
const within = document.querySelector("#within");
const shown = document.querySelector("#shown");

function compare(a, b, numeric) {
  if (a === "" || b === "") return (a === "") - (b === ""); // what is missing stays last in both directions
  return numeric ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true });
}

function sortBy(head) {
  const column = head.cellIndex;
  const numeric = head.dataset.kind === "number";
  const now = head.getAttribute("aria-sort");
  const first = head.dataset.first;
  const direction = now === "none" ? first : now === "ascending" ? "descending" : "ascending";
  const sign = direction === "ascending" ? 1 : -1;
  const value = (row) => row.cells[column].dataset.value;
  rows.sort((p, q) => {
    const a = value(p), b = value(q);
    return a === "" || b === "" ? compare(a, b, numeric) : sign * compare(a, b, numeric);
  });
  for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", direction);
  body.append(...rows);
}

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const row of rows) {
    const name = row.cells[1].textContent.toLowerCase();
    const fits = words.every((word) => name.includes(word)) && !(within.checked && row.classList.contains("over"));
    row.hidden = !fits;
    count += fits;
  }
  shown.textContent = `${count} of ${rows.length} networks`;
}

for (const head of table.tHead.rows[0].cells) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.firstElementChild.childNodes);
  head.replaceChildren(button);
  button.addEventListener("click", () => sortBy(head));
}
search.addEventListener("input", filter);
within.addEventListener("change", filter);
search.closest(".controls").hidden = false;
filter();
