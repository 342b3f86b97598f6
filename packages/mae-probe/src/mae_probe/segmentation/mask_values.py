"""How many classes masks have, where nothing names them."""

from mae_core.errors import UserError
from mae_data.errors import DataError, ImageError
from mae_data.images.mask import read_mask
from mae_data.sources.mask_pairs import MaskPairs


def largest_class(pairs: MaskPairs, ignore: int) -> int:
    """Return the largest value of all masks, but for the one to ignore.

    Raises:
        DataError: a mask cannot be read; the message names its line and file.
        UserError: no mask has any, or they have one class alone.
    """
    largest = -1
    for index in range(len(pairs.masks)):
        try:
            mask = read_mask(pairs.masks.file(index))
        except ImageError as error:
            raise DataError(f"{pairs.masks.describe(index)}: {error.reason}") from error
        values = mask[mask != ignore]
        largest = max(largest, int(values.max()) if values.size else -1)
    if largest < 1:
        raise UserError(
            f"{pairs.masks.name}: the masks have {'one class' if not largest else 'no class'}; nothing to tell apart"
        )
    return largest
