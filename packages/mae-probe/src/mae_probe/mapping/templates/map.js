const data = JSON.parse(document.getElementById("data").textContent);
const by = (id) => document.getElementById(id);
const canvas = by("canvas"), pen = canvas.getContext("2d"), tip = by("tip");
const dark = matchMedia("(prefers-color-scheme: dark)");
const slots = new Map(data.patches.map((row, slot) => [row, slot]));
const classes = Object.keys(data.names).map(Number);
const orders = new Map(classes.map((label, order) => [label, order]));
const thumbnails = getComputedStyle(document.querySelector(".thumb")).backgroundImage.slice(5, -2);
const sheet = Object.assign(new Image(), { src: thumbnails }); // for the canvas
const PAD = 24; // pixels around the map
let view = { x: 0, y: 0, zoom: 1 }; // what part of the plane is shown
let chosen = 0, only = null, asked = 0; // an image, a label, a frame

function colour(label) {
  const order = orders.get(label);
  if (order === undefined) return dark.matches ? "#8b98a5" : "#75808c";
  const hue = classes.length <= 12 ? (360 * order) / classes.length : (137.5 * order) % 360;
  return `hsl(${hue} 75% ${(dark.matches ? 62 : 42) + (order % 2 ? 10 : -4)}%)`;
}

function place(row) {
  const plane = data.planes[by("plane").value], x = plane[2 * row] / 10000, y = 1 - plane[2 * row + 1] / 10000;
  const along = (share, from, size) => PAD + (size - 2 * PAD) * (share - from) * view.zoom;
  return [along(x, view.x, canvas.clientWidth), along(y, view.y, canvas.clientHeight)];
}

function draw() {
  const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  pen.scale(ratio, ratio);
  canvas.style.touchAction = view.zoom > 1 ? "none" : "pan-y"; // as a whole it lets the page scroll
  const pictures = by("pictures").checked, radius = Math.min(6, 1.6 + 40 / Math.sqrt(data.paths.length) + view.zoom / 4);
  const side = Math.min(64, 14 + 4 * view.zoom);
  data.paths.forEach((_, row) => {
    const [x, y] = place(row);
    if (x < -side || y < -side || x > width + side || y > height + side) return;
    pen.globalAlpha = only !== null && data.labels[row] !== only ? 0.08 : pictures ? 1 : 0.75;
    if (pictures) {
      const left = (row % data.columns) * data.side, top = Math.floor(row / data.columns) * data.side;
      pen.drawImage(sheet, left, top, data.side, data.side, x - side / 2, y - side / 2, side, side);
    } else {
      pen.fillStyle = colour(data.labels[row]);
      pen.beginPath();
      pen.arc(x, y, radius, 0, 7);
      pen.fill();
    }
  });
  pen.globalAlpha = 1;
  pen.strokeStyle = getComputedStyle(document.body).color;
  pen.lineWidth = 1.5;
  pen.beginPath();
  const [x, y] = place(chosen);
  for (const row of data.neighbours[chosen]) {
    pen.moveTo(x, y);
    pen.lineTo(...place(row));
  }
  pen.moveTo(x + radius + 4, y);
  pen.arc(x, y, radius + 4, 0, 7);
  pen.stroke();
}

function redraw() {
  cancelAnimationFrame(asked);
  asked = requestAnimationFrame(draw);
}

const element = (name, kind = "", text = "") =>
  Object.assign(document.createElement(name), { className: kind, textContent: text });

function cell(made, row, slot, columns, name) {
  made.dataset.row = row;
  made.setAttribute("aria-label", name);
  made.style.cssText = `--x: ${slot % columns}; --y: ${Math.floor(slot / columns)}`;
  return made;
}

const thumb = (row) => cell(element("button", "thumb"), row, row, data.columns, data.paths[row]);

function patches(row) {
  const made = cell(element("span", "patch"), row, slots.get(row), data.patchColumns, `Patches of ${data.paths[row]}`);
  made.setAttribute("role", "img");
  return made;
}

const labelOf = (row) => data.names[data.labels[row]] ?? "no label";
const differ = (row, other) => data.labels[row] >= 0 && data.labels[other] >= 0 && data.labels[other] !== data.labels[row];

function choose(row) {
  chosen = row;
  const box = by("chosen"), near = element("ul", "near");
  box.replaceChildren(element("h3", "", data.paths[row]), thumb(row));
  if (slots.has(row)) box.append(" ", patches(row));
  const label = classes.length ? `Label: ${labelOf(row)}. ` : "";
  box.append(element("p", "", `${label}Outlier score ${(data.outlier[row] / 1000).toFixed(2)}. Nearest, with their cosine:`));
  data.neighbours[row].forEach((other, rank) => {
    const item = element("li");
    item.append(thumb(other), element("div", "", (data.cosines[row][rank] / 1000).toFixed(2)));
    if (classes.length) item.append(element("div", differ(row, other) ? "other" : "", labelOf(other)));
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
  return [best, x, y]; // an image, or -1, and where the pointer is
}

function zoomAt(event, factor) {
  const box = canvas.getBoundingClientRect(), zoom = Math.min(60, Math.max(1, view.zoom * factor));
  const x = (event.clientX - box.left - PAD) / (box.width - 2 * PAD), y = (event.clientY - box.top - PAD) / (box.height - 2 * PAD);
  const kept = 1 / view.zoom - 1 / zoom; // what is under the pointer stays there
  view = zoom === 1 ? { x: 0, y: 0, zoom } : { x: view.x + x * kept, y: view.y + y * kept, zoom };
  redraw();
}

const fingers = new Map(); // the last event of each that is down
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
    view.x -= (event.clientX - last.clientX) / (canvas.clientWidth - 2 * PAD) / view.zoom;
    view.y -= (event.clientY - last.clientY) / (canvas.clientHeight - 2 * PAD) / view.zoom;
    redraw();
  }
  fingers.set(event.pointerId, event);
});
for (const name of ["pointerup", "pointercancel", "pointerleave"]) {
  canvas.addEventListener(name, (event) => {
    const row = name === "pointerup" && moved < 5 ? under(event)[0] : -1;
    if (row >= 0) choose(row);
    fingers.delete(event.pointerId);
    tip.hidden = true;
  });
}
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
for (const name of ["plane", "pictures"]) by(name).addEventListener("change", redraw);

function showKeys() {
  by("keys").replaceChildren(...classes.map((label) => {
    const item = element("li"), key = element("button"), dot = element("i");
    dot.style.background = colour(label);
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
