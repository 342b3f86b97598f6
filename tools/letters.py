"""Letters: the 26 of the alphabet in every font of some folders, 32x32 grey, as image folders that `mae-data` lists.

A data set that is small and harder than the digits: what is held out are whole font families, so a letter must be
told by its shape and not by the font it was drawn in. Each font draws each letter once, as a capital or a small letter,
white on black, at a size and place of its own. The same fonts give the same pictures with the same Pillow.

    python tools/letters.py letters /usr/share/fonts
    mae-pretrain -data_path letters ...
"""

import argparse
import hashlib
import random
import string
from collections.abc import Iterable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SIDE = 32  # pixels
SIZES = (14, 28)  # pixels of the font: from, to
SHIFT = 4  # pixels from the centre, at most
HELD_OUT = 0.25  # share of the families
SUFFIXES = (".ttf", ".otf")


def main() -> int:
    """Write the pictures and say how many fonts drew them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder to write, which must not exist")
    parser.add_argument("fonts", type=Path, nargs="+", help="folders of TrueType and OpenType fonts")
    parser.add_argument("--styles", type=int, default=2, help="fonts of a family, at most (default 2)")
    parser.add_argument("--seed", type=int, default=0, help="draws the split, and each letter's case, size and place")
    args = parser.parse_args()
    if args.output.exists():
        parser.error(f"{args.output} exists; name a new folder")
    families = find_families(args.fonts, args.styles)
    if len(families) < 2:
        parser.error(f"{len(families)} families draw the Latin alphabet; install more fonts, or name their folders")
    held_out = set(sorted(families, key=lambda name: _hash(args.seed, name))[: max(1, round(len(families) * HELD_OUT))])
    counts = {"train": 0, "val": 0}
    for number, (family, files) in enumerate(sorted(families.items())):
        part = "val" if family in held_out else "train"
        for style, file in enumerate(files):
            draw_font(file, args.output / part, f"{number:03d}_{style}", args.seed)
        counts[part] += len(files)
    print(
        f"{args.output}: {sum(counts.values())} fonts of {len(families)} families, 26 letters each;"
        f" {counts['train'] * 26} pictures to train, {counts['val'] * 26} held out, of {len(held_out)} families"
    )
    return 0


def find_families(folders: Iterable[Path], styles: int) -> dict[str, list[Path]]:
    """Return the fonts that draw the alphabet by family; of a family, `styles` at most, each of another look."""
    files = sorted({path for folder in folders for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES})
    families: dict[str, list[Path]] = {}
    seen: set[str] = set()
    for file in files:
        look = look_of(file)
        if look is None or look[1] in seen:
            continue
        seen.add(look[1])
        families.setdefault(look[0], []).append(file)
    return {name: found[:styles] for name, found in families.items()}


def look_of(file: Path) -> tuple[str, str] | None:
    """Return a font's family and a hash of its letters; None where it lacks some, as symbol fonts do."""
    try:
        font = ImageFont.truetype(str(file), SIZES[1], layout_engine=ImageFont.Layout.BASIC)
        drawn = {letter: glyph(font, letter).tobytes() for letter in string.ascii_letters}
        missing = glyph(font, "\uffff").tobytes()
    except OSError:
        return None
    capitals = {drawn[letter] for letter in string.ascii_uppercase}
    if missing in drawn.values() or len(capitals) < 26 or any(not any(pixels) for pixels in drawn.values()):
        return None
    return str(font.getname()[0]), hashlib.sha256(b"".join(drawn.values())).hexdigest()


def glyph(font: ImageFont.FreeTypeFont, letter: str, shift: tuple[int, int] = (0, 0)) -> Image.Image:
    """Draw one letter, its box centred and then shifted."""
    picture = Image.new("L", (SIDE, SIDE))
    left, top, right, bottom = font.getbbox(letter)
    x, y = (SIDE - (right - left)) // 2 - left, (SIDE - (bottom - top)) // 2 - top
    ImageDraw.Draw(picture).text((x + shift[0], y + shift[1]), letter, fill=255, font=font)
    return picture


def draw_font(file: Path, folder: Path, name: str, seed: int) -> None:
    """Write a font's 26 letters as `folder/LETTER/name.png`."""
    draw = random.Random(f"{seed} {name}")
    for letter in string.ascii_uppercase:
        font = ImageFont.truetype(str(file), draw.randint(*SIZES), layout_engine=ImageFont.Layout.BASIC)
        shift = draw.randint(-SHIFT, SHIFT), draw.randint(-SHIFT, SHIFT)
        target = folder / letter / f"{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        glyph(font, draw.choice((letter, letter.lower())), shift).save(target)


def _hash(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()


if __name__ == "__main__":
    raise SystemExit(main())
