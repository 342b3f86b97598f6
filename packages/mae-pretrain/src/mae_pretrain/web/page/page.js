// The page: an image is masked, reconstructed, named, and shown with what the class token attends to.
import { $, ask, attempt, bars, model, picture, takeImages, trouble } from "/image_page.js";
import { Patches } from "/patches.js";

const original = new Patches($("original")), editor = new Patches($("editor")), result = new Patches($("reconstruction"));
let removed = [], heads = [], timer = 0, stroke = null;

if (!model.can.includes("reconstruct")) {
  $("lede").textContent = model.can.includes("classify")
    ? "These weights are a classifier: it names what it sees and shows where it looks. It has no decoder, so it reconstructs nothing."
    : "These weights are an encoder alone: the page shows where it looks.";
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
  $("error").textContent = `Mean squared error of the hidden pixels, 0 to 1: ${computed.error.toPrecision(3)}. ` +
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
  bars($("classes"), computed.classes.map(({ name, probability }, i) => [name, probability, `${(100 * probability).toFixed(1)} %`, !i]));
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
  timer = setTimeout(() => attempt((isLatest) => reconstruct(isLatest, mask)), 150);
}

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

tellRatio(); // after "back", the browser gives the fields what they held
takeImages(() => {
  clearTimeout(timer);
  show(false);
}, look);
