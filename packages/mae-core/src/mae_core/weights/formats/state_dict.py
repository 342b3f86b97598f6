"""Find the weights in what a checkpoint file holds."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from mae_core.errors import CheckpointError
from mae_core.weights.formats.pickle_values import safe_text

T = TypeVar("T")
_KEYS = ("model", "state_dict", "model_state_dict")
_MOST = 4  # tied weights share numbers; beyond that, a small file asks for much memory


def pick_tensors(
    content: Any, tensor_of: Callable[[Any], T | None], bytes_of: Callable[[T], int], file_size: int
) -> dict[str, T]:
    """Return name -> tensor of a bare state dict, or of one under `model` or `state_dict`.

    Args:
        content: what the file holds.
        tensor_of: returns the tensor that a value stands for, None where it is something else.
        bytes_of: returns what a tensor takes, though several may share their numbers.
        file_size: bytes.

    Raises:
        CheckpointError: there are no tensors, or they are much larger than the file.
    """
    if not isinstance(content, Mapping):
        raise CheckpointError(f"it holds a {type(content).__name__}, not a dictionary of weights")
    nested = next((content[key] for key in _KEYS if isinstance(content.get(key), Mapping)), content)
    tensors = {name: tensor for name, value in nested.items() if (tensor := tensor_of(value)) is not None}
    if not tensors:
        keys = ", ".join(safe_text(str(key)) for key in list(nested)[:5])
        raise CheckpointError(f"it holds no tensors (keys: {keys or 'none'})")
    if (total := sum(map(bytes_of, tensors.values()))) > _MOST * file_size:
        raise CheckpointError(f"its tensors take {total:,} bytes, over {_MOST} times the file's {file_size:,}")
    return {str(name): tensor for name, tensor in tensors.items()}
