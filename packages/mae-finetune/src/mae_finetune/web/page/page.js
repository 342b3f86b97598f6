// The page: an image comes back with what the model says of it: classes, labels, numbers, or the class of each pixel.
import { $, ask, attempt, bars, model, picture, takeImages } from "/image_page.js";

const KINDS = { classify: "Prediction", multilabel: "Labels", regress: "Numbers", segment: "Classes of the pixels" };
const MOST = 10; // labels that are named though they are not said
const SIDE = 448; // pixels of the canvas' longer side, at least
const canvas = $("picture"), context = canvas.getContext("2d", { willReadFrequently: true });
const percent = (share) => `${(100 * share).toFixed(1)} %`;
let image = null, mask = null, segments = [];

$("kind").textContent = KINDS[model.task];
$("strength").hidden = $("at").hidden = model.task !== "segment";

function draw() {
  if (!image) return;
  context.imageSmoothingEnabled = false;
  context.globalAlpha = 1;
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  context.globalAlpha = $("cover").value / 100;
  if (mask) context.drawImage(mask, 0, 0, canvas.width, canvas.height);
}

const TELL = {
  classify: ({ classes }) => bars($("classes"), classes.map(({ name, probability: p }, i) => [name, p, percent(p), !i])),
  multilabel({ labels, threshold }) {
    const said = labels.filter(({ probability }) => probability >= threshold);
    $("note").textContent = said.length
      ? `Said from ${percent(threshold)} on: ${said.map(({ name }) => name).join(", ")}.`
      : `No label reaches ${percent(threshold)}, from which on one is said.`;
    const shown = labels.slice(0, Math.max(said.length, MOST));
    bars($("classes"), shown.map(({ name, probability: p }) => [name, p, percent(p), p >= threshold]));
  },
  regress({ numbers }) {
    $("numbers").replaceChildren(...numbers.flatMap(({ name, value }) => {
      const [term, said] = [document.createElement("dt"), document.createElement("dd")];
      [term.textContent, said.textContent] = [name, value.toPrecision(6)];
      return [term, said];
    }));
  },
  segment({ segments: found }) {
    segments = found;
    $("note").textContent = found.length ? "Share of the pixels, the largest first." : "No pixel holds data.";
    $("legend").replaceChildren(...found.map(({ name, share, colour }) => {
      const row = document.createElement("li"), swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = `rgb(${colour.join(" ")})`;
      row.append(swatch, `${name} `, Object.assign(document.createElement("b"), { textContent: percent(share) }));
      return row;
    }));
  },
};

async function look(isLatest) {
  const told = await ask("predict");
  if (!isLatest()) return;
  [image, mask] = [await picture(told.image), told.mask ? await picture(told.mask) : null];
  const scale = Math.max(1, Math.ceil(SIDE / Math.max(image.width, image.height)));
  [canvas.width, canvas.height] = [image.width * scale, image.height * scale];
  $("note").textContent = "";
  TELL[model.task](told);
  draw();
  $("seen").hidden = false;
}

// The class under the pointer is the one whose colour the mask has there.
function nameAt(event) {
  const place = canvas.getBoundingClientRect(), pixel = document.createElement("canvas").getContext("2d");
  const x = ((event.clientX - place.left) / place.width) * mask.width;
  const y = ((event.clientY - place.top) / place.height) * mask.height;
  pixel.drawImage(mask, Math.floor(x), Math.floor(y), 1, 1, 0, 0, 1, 1);
  const [r, g, b, known] = pixel.getImageData(0, 0, 1, 1).data;
  const found = segments.find(({ colour }) => colour[0] === r && colour[1] === g && colour[2] === b);
  return known && found ? found.name : "no data";
}

for (const kind of ["pointermove", "pointerdown"]) {
  canvas.addEventListener(kind, (event) => mask && ($("at").textContent = `This pixel: ${nameAt(event)}`));
}
const tellCover = () => ($("covered").textContent = `${$("cover").value} %`);
$("cover").addEventListener("input", () => {
  tellCover();
  draw();
});

tellCover();
takeImages(() => ($("seen").hidden = true), () => attempt(look));
