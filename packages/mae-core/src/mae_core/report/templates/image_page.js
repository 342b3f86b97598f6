// What pages on images share: an image goes to the server that sent the page, and comes back as pictures and figures.
export const $ = (id) => document.getElementById(id);
export const model = await (await fetch("/model")).json();
let file = null, latest = 0;

$("name").textContent = model.name;
$("chosen").textContent = model.takes;
document.title = `MAE: ${model.name}`;

export async function ask(what, query = "") {
  const answer = await fetch(`/${what}?${query}`, {
    method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" },
  });
  const computed = await answer.json();
  if (!answer.ok) throw new Error(computed.error);
  return computed;
}

export async function picture(uri) {
  const image = new Image();
  image.src = uri;
  await image.decode();
  return image;
}

export function trouble(message) {
  $("trouble").textContent = message;
  $("status").textContent = "";
}

// Only the answer to the last question counts: work is given what tells whether it is that.
export async function attempt(work) {
  if (!file) return;
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

// Rows of [name, share from 0 to 1, what is said of it, whether it stands out].
export function bars(list, rows) {
  list.replaceChildren(...rows.map(([name, share, said, stands]) => {
    const row = document.createElement("li");
    const [label, value, bar, filled] = ["name", "value", "bar", ""].map((kind) => {
      const part = document.createElement("span");
      part.className = kind;
      return part;
    });
    row.className = stands ? "ours" : "";
    [label.textContent, value.textContent] = [name, said];
    filled.style.width = `${100 * share}%`;
    bar.append(filled);
    row.append(label, value, bar);
    return row;
  }));
}

// Calls `forget` when another image is chosen, so that none is seen under another's name, and then `look`.
export function takeImages(forget, look) {
  function choose(chosen) {
    if (!chosen) return;
    latest++; // what was asked of the image before is answered to nobody
    forget();
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
  choose($("file").files[0]); // after "back", the browser gives the field what it held
}
