"""The PNG files that the commands draw: refused before the work where they cannot be written."""

from collections.abc import Callable
from pathlib import Path

from mae_core.errors import UserError
from mae_core.files import png_bytes, refuse_unwritable, try_folder, write_output


def prepare_png(path: Path) -> None:
    """Make the folder of a picture and try to write in it.

    Raises:
        UserError: the picture cannot be written.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a PNG file with -output")
    with refuse_unwritable(path):
        try_folder(path.parent)


def write_png(path: Path, save: Callable[..., object]) -> None:
    """Write a picture, whole or not at all; `save(file, format="png")` draws it.

    Raises:
        UserError: it cannot be written.
    """
    png = png_bytes(save)
    with refuse_unwritable(path):
        write_output(path, png)
