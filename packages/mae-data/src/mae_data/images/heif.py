"""HEIC and AVIF, the pictures of telephones and of the web: what Pillow needs to read them."""

from PIL import Image, features

from mae_data.errors import DataError

_AVIF = (b"avif", b"avis")
_HEIF = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
NEEDS_PILLOW_HEIF = 'HEIC needs pillow-heif: pip install "mae-data[heif]"'
NEEDS_PILLOW = "AVIF needs a Pillow that was built with it (11.3 and above are): pip install --upgrade pillow"


def is_heif(head: bytes) -> bool:
    """Return whether, by its first 32 bytes, a file is HEIC or AVIF."""
    return head[4:8] == b"ftyp" and head[8:12] in _AVIF + _HEIF


def plugin_format(head: bytes) -> str:
    """Make Pillow know the format of such a file, and return what Pillow calls it.

    Raises:
        DataError: what is needed is not installed.
    """
    if any(brand in head[8:32] for brand in _AVIF):
        if "avif" not in features.modules or not features.check("avif"):
            raise DataError(NEEDS_PILLOW)
        return "AVIF"
    if "HEIF" not in Image.OPEN:
        try:
            from pillow_heif import register_heif_opener
        except ImportError:
            raise DataError(NEEDS_PILLOW_HEIF) from None
        register_heif_opener()
    return "HEIF"
