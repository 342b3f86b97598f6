"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const by = (id) => document.getElementById(id);
const canvas = by("canvas"), pen = canvas.getContext("2d"), tip = by("tip");
const dark = matchMedia("(prefers-color-scheme: dark)");
const slots = new Map(data.patches.map((row, slot) => [row, slot]));
const classes = Object.keys(data.names).map(Number);
const orders = new Map(classes.map((label, order) => [label, order]));
const sheet = new Image(); // the thumbnails, for the canvas
sheet.src = getComputedStyle(document.querySelector(".thumb")).backgroundImage.slice(5, -2);
let view = { x: 0, y: 0, zoom: 1 }; // what part of the plane is shown
let chosen = -1, only = null; // an image, and a label

function colour(label) {
  const order = orders.get(label);
  if (order === undefined) return dark.matches ? "#8b98a5" : "#75808c";
  const few = classes.length <= 12;
  const hue = few ? (360 * order) / classes.length : (137.5 * order) % 360;
  const light = (dark.matches ? 62 : 42) + (order % 2 ? 10 : -4);
  return `hsl(${hue} 75% ${light}%)`;
}

function place(row) {
  const plane = data.planes[by("plane").value];
  const pad = 24, width = canvas.clientWidth - 2 * pad, height = canvas.clientHeight - 2 * pad;
  const x = (plane[2 * row] / 10000 - view.x) * view.zoom, y = (1 - plane[2 * row + 1] / 10000 - view.y) * view.zoom;
  return [pad + width * x, pad + height * y];
}

function draw() {
  const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  pen.scale(ratio, ratio);
  const pictures = by("pictures").checked, radius = Math.min(6, 1.6 + 40 / Math.sqrt(data.paths.length) + view.zoom / 4);
  const side = Math.min(64, 14 + 4 * view.zoom);
  const drawOne = (row, faded) => {
    const [x, y] = place(row);
    if (x < -side || y < -side || x > width + side || y > height + side) return;
    pen.globalAlpha = faded ? 0.08 : pictures ? 1 : 0.75;
    if (pictures) {
      const left = (row % data.columns) * data.side, top = Math.floor(row / data.columns) * data.side;
      pen.drawImage(sheet, left, top, data.side, data.side, x - side / 2, y - side / 2, side, side);
      return;
    }
    pen.fillStyle = colour(data.labels[row]);
    pen.beginPath();
    pen.arc(x, y, radius, 0, 7);
    pen.fill();
  };
  data.paths.forEach((_, row) => drawOne(row, only !== null && data.labels[row] !== only));
  pen.globalAlpha = 1;
  if (chosen < 0) return;
  pen.strokeStyle = pen.fillStyle = getComputedStyle(document.body).color;
  const [x, y] = place(chosen);
  for (const row of data.neighbours[chosen]) {
    pen.beginPath();
    pen.moveTo(x, y);
    pen.lineTo(...place(row));
    pen.stroke();
  }
  pen.beginPath();
  pen.arc(x, y, radius + 4, 0, 7);
  pen.lineWidth = 3;
  pen.stroke();
}

let asked = 0;
function redraw() {
  cancelAnimationFrame(asked);
  asked = requestAnimationFrame(draw);
}

function element(name, kind, text) {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  if (text !== undefined) made.textContent = text;
  return made;
}

function cell(kind, slot, columns, name) {
  const made = element(kind === "thumb" ? "button" : "span", kind);
  if (kind === "thumb") made.type = "button";
  else made.setAttribute("role", "img");
  made.setAttribute("aria-label", name);
  made.style.setProperty("--x", slot % columns);
  made.style.setProperty("--y", Math.floor(slot / columns));
  return made;
}

function thumb(row) {
  const made = cell("thumb", row, data.columns, data.paths[row]);
  made.dataset.row = row;
  return made;
}

const labelOf = (row) => data.names[data.labels[row]] ?? "no label";

function choose(row) {
  chosen = row;
  const box = by("chosen"), differ = (other) => data.labels[row] >= 0 && data.labels[other] >= 0 && data.labels[other] !== data.labels[row];
  box.replaceChildren(element("h3", "", data.paths[row]), thumb(row));
  if (slots.has(row)) box.append(" ", cell("patch", slots.get(row), data.patchColumns, `Patches of ${data.paths[row]}`));
  const label = classes.length ? `${labelOf(row)}. ` : "";
  box.append(element("p", "", `${label}Outlier score ${(data.outlier[row] / 1000).toFixed(2)}. Nearest, with their cosine:`));
  const near = element("ul", "near");
  data.neighbours[row].forEach((other, rank) => {
    const item = element("li");
    item.append(thumb(other), element("div", "", (data.cosines[row][rank] / 1000).toFixed(2)));
    if (classes.length) item.append(element("div", differ(other) ? "other" : "", labelOf(other)));
    near.append(item);
  });
  box.append(near);
  redraw();
}

function under(event) {
  const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
  let best = -1, least = 14 ** 2;
  data.paths.forEach((_, row) => {
    const [a, b] = place(row), far = (a - x) ** 2 + (b - y) ** 2;
    if (far < least && (only === null || data.labels[row] === only)) [best, least] = [row, far];
  });
  return [best, x, y];
}

function zoomAt(event, factor) {
  const box = canvas.getBoundingClientRect(), zoom = Math.min(60, Math.max(1, view.zoom * factor));
  const x = (event.clientX - box.left - 24) / (box.width - 48), y = (event.clientY - box.top - 24) / (box.height - 48);
  view = { x: view.x + x / view.zoom - x / zoom, y: view.y + y / view.zoom - y / zoom, zoom };
  if (zoom === 1) view = { x: 0, y: 0, zoom };
  redraw();
}

const fingers = new Map();
let moved = 0;
canvas.addEventListener("pointerdown", (event) => {
  fingers.set(event.pointerId, event);
  moved = 0;
});
canvas.addEventListener("pointermove", (event) => {
  const last = fingers.get(event.pointerId);
  if (!last) {
    const [row, x, y] = under(event);
    tip.hidden = row < 0;
    if (row < 0) return;
    tip.replaceChildren(thumb(row), element("div", "", `${data.paths[row]}${classes.length ? `, ${labelOf(row)}` : ""}`));
    tip.style.left = `${Math.min(x + 12, canvas.clientWidth - 150)}px`;
    tip.style.top = `${y + 12}px`;
    return;
  }
  tip.hidden = true;
  moved += Math.hypot(event.clientX - last.clientX, event.clientY - last.clientY);
  const other = [...fingers.values()].find((finger) => finger.pointerId !== event.pointerId);
  if (other) {
    const far = (finger) => Math.hypot(finger.clientX - other.clientX, finger.clientY - other.clientY);
    zoomAt(other, far(event) / Math.max(1, far(last)));
  } else if (view.zoom > 1 && moved > 4) {
    view.x -= (event.clientX - last.clientX) / (canvas.clientWidth - 48) / view.zoom;
    view.y -= (event.clientY - last.clientY) / (canvas.clientHeight - 48) / view.zoom;
    redraw();
  }
  fingers.set(event.pointerId, event);
});
canvas.addEventListener("pointerup", (event) => {
  const row = under(event)[0];
  if (moved < 5 && row >= 0) choose(row);
});
for (const name of ["pointerup", "pointercancel", "pointerleave"]) {
  canvas.addEventListener(name, (event) => fingers.delete(event.pointerId));
}
canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoomAt(event, event.deltaY < 0 ? 1.25 : 0.8);
}, { passive: false });

document.addEventListener("click", (event) => {
  const row = event.target.closest("button.thumb")?.dataset.row;
  if (row === undefined) return;
  choose(Number(row));
  if (!event.target.closest(".chosen")) by("map").scrollIntoView();
});
by("find").addEventListener("change", (event) => {
  const row = data.paths.findIndex((path) => path.includes(event.target.value));
  if (row >= 0 && event.target.value) choose(row);
});
by("whole").addEventListener("click", () => {
  view = { x: 0, y: 0, zoom: 1 };
  redraw();
});
by("plane").addEventListener("change", redraw);
by("pictures").addEventListener("change", redraw);

function showKeys() {
  by("keys").replaceChildren(...classes.map((label) => {
    const item = element("li"), key = element("button"), dot = element("i");
    dot.style.background = colour(label);
    key.type = "button";
    key.setAttribute("aria-pressed", only === label);
    key.append(dot, data.names[label]);
    key.addEventListener("click", () => {
      only = only === label ? null : label;
      showKeys();
      by("keys").children[orders.get(label)].firstChild.focus();
      redraw();
    });
    item.append(key);
    return item;
  }));
}
sheet.addEventListener("load", redraw);
dark.addEventListener("change", () => { showKeys(); redraw(); });
new ResizeObserver(redraw).observe(canvas);
showKeys();
choose(Number(document.querySelector("#outliers .thumb").dataset.row));
