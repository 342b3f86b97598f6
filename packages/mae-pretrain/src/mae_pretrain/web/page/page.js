// The page: an image goes to the server that sent the page, and comes back as pictures and figures.
import { Patches } from "/patches.js";

const $ = (id) => document.getElementById(id);
const original = new Patches($("original")), editor = new Patches($("editor")), result = new Patches($("reconstruction"));
const model = await (await fetch("/model")).json();
let file = null, removed = [], heads = [], latest = 0, timer = 0, stroke = null;

$("name").textContent = model.name;
document.title = `MAE: ${model.name}`;
if (!model.can.includes("reconstruct")) {
  $("lede").textContent = model.can.includes("classify")
    ? "These weights are a classifier: it names what it sees and shows where it looks. It has no decoder, so it reconstructs nothing."
    : "These weights are an encoder alone: the page shows where it looks.";
}

// Asking: only the answer to the last question counts.
async function ask(what, query = "") {
  const answer = await fetch(`/${what}?${query}`, {
    method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" },
  });
  const computed = await answer.json();
  if (!answer.ok) throw new Error(computed.error);
  return computed;
}

async function picture(uri) {
  const image = new Image();
  image.src = uri;
  await image.decode();
  return image;
}

function trouble(message) {
  $("trouble").textContent = message;
  $("status").textContent = "";
}

async function attempt(work) {
  const mine = ++latest;
  trouble("");
  $("status").textContent = "The model is at work.";
  try {
    await work(() => mine === latest);
    if (mine === latest) $("status").textContent = "Done.";
  } catch (error) {
    const lost = error instanceof TypeError ? "the server does not answer: is it still running?" : error.message;
    if (mine === latest) trouble(`${lost[0].toUpperCase()}${lost.slice(1)}.`.replace(/\.\.$/, "."));
  }
}

async function reconstruct(isLatest, mask) {
  const ratio = $("ratio").value / 100, seed = $("seed").value || "0";
  const computed = await ask("reconstruct", mask ? `removed=${mask.join("")}` : new URLSearchParams({ ratio, seed }));
  if (!isLatest()) return;
  removed = [...computed.removed].map(Number);
  const [source, pasted] = [await picture(computed.original), await picture(computed.reconstruction)];
  editor.show(source, model.grid);
  result.show(pasted, model.grid);
  const count = removed.reduce((a, b) => a + b, 0);
  $("hidden").textContent = `${count} of ${removed.length} patches are hidden. Draw with the mouse or a finger, or use arrow keys and space, to hide or show more.`;
  $("error").textContent = `Mean squared error of the hidden pixels, 0 to 1: ${computed.error.toFixed(4)}. ` +
    (model.normalized ? "The model predicts normalised patches: each is given the true patch's mean and deviation." : "");
}

async function attend(isLatest) {
  const computed = await ask("attend");
  if (!isLatest()) return;
  heads = computed.heads;
  $("head").replaceChildren(new Option("all heads, mean", "mean"), ...heads.map((_, i) => new Option(`head ${i + 1}`, i)));
  original.show(await picture(computed.original), model.grid);
}

async function classify(isLatest) {
  const computed = await ask("classify");
  if (!isLatest()) return;
  $("classes").replaceChildren(...computed.classes.map(({ name, probability }, i) => {
    const row = document.createElement("li");
    const [label, value, bar, filled] = ["name", "value", "bar", ""].map((kind) => {
      const part = document.createElement("span");
      part.className = kind;
      return part;
    });
    row.className = i ? "" : "ours";
    [label.textContent, value.textContent] = [name, `${(100 * probability).toFixed(1)} %`];
    filled.style.width = `${100 * probability}%`;
    bar.append(filled);
    row.append(label, value, bar);
    return row;
  }));
}

const can = (what) => model.can.includes(what);

function show(seen) {
  $("shown").hidden = !seen;
  $("mask").hidden = $("masked").hidden = $("result").hidden = !(seen && can("reconstruct"));
  $("guesses").hidden = !(seen && can("classify"));
}

function look() {
  show(false); // what is seen is never another image than the one that is named
  return attempt(async (isLatest) => {
    if (can("reconstruct")) await reconstruct(isLatest);
    if (can("classify")) await classify(isLatest);
    await attend(isLatest);
    if (isLatest()) show(true);
  });
}

function again(mask) {
  clearTimeout(timer);
  timer = setTimeout(() => file && attempt((isLatest) => reconstruct(isLatest, mask)), 150);
}

function choose(chosen) {
  if (!chosen) return;
  latest++; // what was asked of the image before is answered to nobody
  clearTimeout(timer);
  show(false);
  if (chosen.size > model.limit) return trouble(`${chosen.name} has ${(chosen.size / 2 ** 20).toFixed(0)} MB; at most ${model.limit / 2 ** 20} MB are taken.`);
  file = chosen;
  look();
}

$("file").addEventListener("click", () => ($("file").value = "")); // so that the same file can be tried again
$("file").addEventListener("change", (event) => choose(event.target.files[0]));
for (const kind of ["dragover", "dragleave", "drop"]) {
  $("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0]) {
      $("file").files = event.dataTransfer.files;
      choose($("file").files[0]);
    }
  });
}
for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault()); // missed
$("mask").addEventListener("submit", (event) => event.preventDefault());
const tellRatio = () => ($("share").textContent = `${$("ratio").value} %`);
$("ratio").addEventListener("input", () => {
  tellRatio();
  again();
});
$("seed").addEventListener("input", () => again());
$("next").addEventListener("click", () => {
  $("seed").value = Number($("seed").value) + 1;
  again();
});
$("clear").addEventListener("click", () => edit(removed.map((_, i) => Number(i === 0))));

// Drawing the mask: the first patch decides whether a stroke hides or shows.
editor.paint = (context, box) => {
  context.fillStyle = "#8a8a8a";
  removed.forEach((gone, i) => gone && context.fillRect(...box(i)));
};

function edit(mask) {
  const count = mask.reduce((a, b) => a + b, 0);
  if (count === 0 || count === mask.length) return trouble("One patch at least must be hidden, and one must stay.");
  removed = mask;
  editor.draw();
  again(mask);
}

function touch(number, value) {
  if (number !== null && removed[number] !== value) edit(removed.map((gone, i) => (i === number ? value : gone)));
}

$("editor").addEventListener("pointerdown", (event) => {
  const number = editor.at(event);
  if (number === null) return;
  $("editor").setPointerCapture(event.pointerId);
  stroke = 1 - removed[number];
  touch(number, stroke);
});
$("editor").addEventListener("pointermove", (event) => stroke !== null && touch(editor.at(event), stroke));
for (const kind of ["pointerup", "pointercancel"]) $("editor").addEventListener(kind, () => (stroke = null));
$("editor").addEventListener("toggle", ({ detail }) => touch(detail, 1 - removed[detail]));
$("editor").addEventListener("patch", ({ detail }) => {
  if (detail !== null && removed.length) $("status").textContent = `${editor.name(detail)}: ${removed[detail] ? "hidden" : "visible"}`;
});

// Attention: an overlay while the image is pointed at or has the focus.
function weights() {
  const chosen = $("head").value;
  return chosen === "mean" ? heads[0].map((_, i) => heads.reduce((a, h) => a + h[i], 0) / heads.length) : heads[chosen];
}

original.paint = (context, box) => {
  if (original.cursor === null || !heads.length) return;
  const shown = weights(), most = Math.max(...shown) || 1;
  shown.forEach((weight, i) => {
    context.fillStyle = `rgb(255 40 0 / ${(0.7 * weight) / most})`;
    context.fillRect(...box(i));
  });
};
$("original").addEventListener("pointermove", (event) => original.moveTo(original.at(event)));
$("original").addEventListener("pointerdown", (event) => {
  $("original").focus(); // a finger's place stays when it is lifted
  original.moveTo(original.at(event));
});
$("original").addEventListener("pointerleave", () => document.activeElement !== $("original") && original.moveTo(null));
$("original").addEventListener("patch", ({ detail }) => {
  if (detail === null || !heads.length) return;
  const share = (100 * weights()[detail]).toFixed(1), even = (100 / weights().length).toFixed(1);
  $("attention").textContent = `The class token gives ${share} % of its attention to ${original.name(detail)}; an even share is ${even} %. Red: the most.`;
});
$("head").addEventListener("change", () => original.moveTo(original.cursor ?? 0));

// After "back", the browser gives the fields what they held.
tellRatio();
choose($("file").files[0]);
