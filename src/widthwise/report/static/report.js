"use strict";
// Tables that sort, filter and turn pages, and plots that can be enlarged. Without this script the page is whole, but
// its tables stay in their order, a long one shows its first rows only, and plots keep their size.

const CONDITION = /^([^<>=!]+)(<=|>=|!=|=|<|>)(.*)$/;
const HOLDS = {
  "<": (c) => c < 0, "<=": (c) => c <= 0, ">": (c) => c > 0, ">=": (c) => c >= 0, "=": (c) => c === 0, "!=": (c) => c !== 0,
};

function make(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

class Grid {
  constructor(box) {
    this.things = box.dataset.grid;
    this.size = Number(box.dataset.page);
    this.table = box.querySelector("table");
    this.body = this.table.tBodies[0];
    this.heads = Array.from(this.table.tHead.rows[0].cells);
    const later = box.querySelector("template");
    this.rows = [...this.body.rows, ...(later ? later.content.querySelectorAll("tr") : [])];
    this.fitting = this.rows;
    this.at = 0;
    this.controls = box.querySelector(".controls");
    this.search = this.controls.querySelector("[type=search]");
    this.boxes = Array.from(this.controls.querySelectorAll("[data-hides]"));
    this.pages = box.querySelector(".pages");
    for (const head of this.heads) this.makeSortable(head);
    this.search.addEventListener("input", () => this.filter());
    for (const one of this.boxes) one.addEventListener("change", () => this.filter());
    const [previous, next] = this.pages.querySelectorAll("button");
    previous.addEventListener("click", () => this.turn(this.at - 1));
    next.addEventListener("click", () => this.turn(this.at + 1));
    this.controls.hidden = false;
    this.filter();
  }

  makeSortable(head) {
    const button = make("button", { type: "button" }, ...head.firstElementChild.childNodes);
    head.replaceChildren(button);
    button.addEventListener("click", () => this.sortBy(head));
  }

  value(row, column) {
    const cell = row.cells[column];
    return cell.dataset.value ?? cell.textContent;
  }

  compare(a, b, numeric) {
    const [x, y] = [Number(a), Number(b)];
    if (numeric && !Number.isNaN(x) && !Number.isNaN(y)) return x - y;
    return a.localeCompare(b, "en", { numeric: true });
  }

  // What is missing stays last in both directions, and so do words among numbers.
  missing(value, numeric) {
    return value === "" || (numeric && Number.isNaN(Number(value)));
  }

  sortBy(head) {
    const column = head.cellIndex;
    const numeric = head.dataset.kind === "number";
    const now = head.getAttribute("aria-sort");
    const order = now === "none" ? head.dataset.first : now === "ascending" ? "descending" : "ascending";
    const sign = order === "ascending" ? 1 : -1;
    const keyed = this.rows.map((row) => [this.value(row, column), row]);
    keyed.sort(([a], [b]) => {
      const [p, q] = [this.missing(a, numeric), this.missing(b, numeric)];
      return p || q ? p - q : sign * this.compare(a, b, numeric);
    });
    this.rows = keyed.map(([, row]) => row);
    for (const other of this.heads) other.setAttribute("aria-sort", other === head ? order : "none");
    this.filter();
  }

  // A word is looked for in the whole row; a condition such as width>24 in its column.
  test(word) {
    const [, name, sign, wanted] = word.match(CONDITION) ?? [];
    const head = this.heads.find((one) => one.dataset.name === name);
    if (!head || wanted === "") return (row) => row.textContent.toLowerCase().includes(word);
    return (row) => {
      const value = this.value(row, head.cellIndex).toLowerCase();
      const numeric = !Number.isNaN(Number(wanted));
      if (numeric && (value === "" || Number.isNaN(Number(value)))) return sign === "!=";
      return HOLDS[sign](Math.sign(this.compare(value, wanted, numeric)));
    };
  }

  filter() {
    const tests = this.search.value.toLowerCase().split(/\s+/).filter(Boolean).map((word) => this.test(word));
    const hidden = this.boxes.filter((one) => one.checked).map((one) => one.dataset.hides);
    this.fitting = this.rows.filter(
      (row) => !hidden.some((kind) => row.classList.contains(kind)) && tests.every((fits) => fits(row)),
    );
    const [count, all] = [this.fitting.length, this.rows.length].map((n) => n.toLocaleString("en"));
    this.controls.querySelector("output").textContent = `${count} of ${all} ${this.things}`;
    this.turn(0);
  }

  turn(page) {
    const last = Math.max(0, Math.ceil(this.fitting.length / this.size) - 1);
    this.at = Math.min(Math.max(page, 0), last);
    const first = this.at * this.size;
    this.body.replaceChildren(...this.fitting.slice(first, first + this.size));
    this.pages.hidden = last === 0;
    const [previous, next] = this.pages.querySelectorAll("button");
    previous.disabled = this.at === 0;
    next.disabled = this.at === last;
    const end = Math.min(first + this.size, this.fitting.length);
    const [a, b, c] = [first + 1, end, this.fitting.length].map((n) => n.toLocaleString("en"));
    this.pages.querySelector("output").textContent = `${a}–${b} of ${c}`;
  }

  // Bring the row of an id to view, whatever page it is on.
  reveal(id) {
    const row = this.rows.find((one) => one.id === id);
    if (!row) return;
    if (!this.fitting.includes(row)) {
      this.search.value = "";
      for (const one of this.boxes) one.checked = false;
      this.filter();
    }
    this.turn(Math.floor(this.fitting.indexOf(row) / this.size));
    for (const one of this.rows) one.classList.toggle("target", one === row);
    row.scrollIntoView({ block: "center" });
  }
}

const grids = Array.from(document.querySelectorAll("[data-grid]"), (box) => new Grid(box));

function follow() {
  const id = decodeURIComponent(location.hash.slice(1));
  if (id) for (const grid of grids) grid.reveal(id);
}
addEventListener("hashchange", follow);
follow();

// One dialog for all plots: the drawing moves into it and back.
function enlarger() {
  const stage = make("div", { class: "stage", tabindex: "0", role: "region", "aria-label": "The plot, enlarged" });
  const [smaller, larger, close] = [["−", "Smaller"], ["+", "Larger"], ["Close", "Close"]].map(([sign, name]) =>
    make("button", { type: "button", "aria-label": name }, sign),
  );
  const bar = make("div", { class: "bar" }, smaller, larger, close);
  const dialog = make("dialog", {}, bar, stage);
  document.body.append(dialog);
  let home = null;
  let zoom = 1;
  const scale = (factor) => {
    zoom = Math.min(Math.max(zoom * factor, 0.5), 8);
    stage.style.setProperty("--zoom", zoom);
  };
  smaller.addEventListener("click", () => scale(1 / 1.5));
  larger.addEventListener("click", () => scale(1.5));
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => home.prepend(stage.firstElementChild));
  return (drawing) => {
    home = drawing.parentElement;
    zoom = 1;
    scale(1);
    dialog.setAttribute("aria-label", drawing.querySelector("title").textContent);
    stage.append(drawing);
    dialog.showModal();
  };
}

const plots = document.querySelectorAll("figure > .plot");
const enlarge = plots.length ? enlarger() : null;
for (const plot of plots) {
  const drawing = plot.querySelector("svg");
  const name = drawing.querySelector("title").textContent;
  const button = make("button", { type: "button", class: "enlarge", "aria-label": `Enlarge the plot: ${name}` }, "Enlarge");
  button.addEventListener("click", () => enlarge(drawing));
  plot.append(button);
}
