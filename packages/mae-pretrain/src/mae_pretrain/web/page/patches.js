// A picture cut into patches on a canvas, with a cursor that mouse, finger and keys move.
const SIDE = 448; // pixels of the canvas' longer side, at least

export class Patches {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.image = null;
    this.grid = [1, 1];
    this.cursor = null; // number of a patch
    this.paint = () => {}; // draws over the picture; gets (context, box of a patch by number)
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("focus", () => this.moveTo(this.cursor ?? 0));
    canvas.addEventListener("blur", () => this.moveTo(null));
  }

  show(image, grid) {
    const scale = Math.max(1, Math.ceil(SIDE / Math.max(image.width, image.height)));
    this.image = image;
    this.grid = grid;
    this.canvas.width = image.width * scale;
    this.canvas.height = image.height * scale;
    this.draw();
  }

  box(number) {
    const [rows, columns] = this.grid;
    const width = this.canvas.width / columns, height = this.canvas.height / rows;
    return [(number % columns) * width, Math.floor(number / columns) * height, width, height];
  }

  at(event) {
    const [rows, columns] = this.grid, place = this.canvas.getBoundingClientRect();
    const column = Math.floor(((event.clientX - place.left) / place.width) * columns);
    const row = Math.floor(((event.clientY - place.top) / place.height) * rows);
    return row >= 0 && row < rows && column >= 0 && column < columns ? row * columns + column : null;
  }

  name(number) {
    return `row ${Math.floor(number / this.grid[1]) + 1}, column ${(number % this.grid[1]) + 1}`;
  }

  moveTo(number) {
    this.cursor = number;
    this.draw();
    this.canvas.dispatchEvent(new CustomEvent("patch", { detail: number }));
  }

  draw() {
    if (!this.image) return;
    const { context, canvas } = this;
    context.imageSmoothingEnabled = false;
    context.drawImage(this.image, 0, 0, canvas.width, canvas.height);
    this.paint(context, (number) => this.box(number));
    if (this.cursor === null) return;
    const [x, y, width, height] = this.box(this.cursor);
    for (const [colour, line] of [["#000000", 5], ["#ffffff", 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = line;
      context.strokeRect(x + 2, y + 2, width - 4, height - 4);
    }
  }

  #key(event) {
    const [rows, columns] = this.grid, now = this.cursor ?? 0;
    const column = now % columns, row = Math.floor(now / columns);
    const moves = {
      ArrowLeft: [row, Math.max(0, column - 1)], ArrowRight: [row, Math.min(columns - 1, column + 1)],
      ArrowUp: [Math.max(0, row - 1), column], ArrowDown: [Math.min(rows - 1, row + 1), column],
    };
    if (event.key in moves) {
      event.preventDefault();
      this.moveTo(moves[event.key][0] * columns + moves[event.key][1]);
    } else if (event.key === " ") {
      event.preventDefault();
      this.canvas.dispatchEvent(new CustomEvent("toggle", { detail: now }));
    }
  }
}
