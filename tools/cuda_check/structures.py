"""The structures and functions of csrc/launchers.h for ctypes."""

import ctypes
from ctypes import POINTER, Structure, c_float, c_int32, c_int64, c_uint32, c_uint64, c_void_p

UINT8, FLOAT32, FLOAT16, BFLOAT16, UINT16 = 0, 1, 2, 3, 4


class MaskingArgs(Structure):
    """Which patches are kept."""

    _fields_ = (
        ("noise", c_void_p),
        ("index", c_void_p),
        ("ids_keep", c_void_p),
        ("ids_remove", c_void_p),
        ("ids_restore", c_void_p),
        ("mask", c_void_p),
        ("samples", c_int64),
        ("seed", c_uint64),
        ("epoch", c_uint32),
        ("length", c_int32),
        ("keep", c_int32),
    )


class ImageArgs(Structure):
    """Images, cut into patches."""

    _fields_ = (
        ("pixels", c_void_p),
        ("scale", c_void_p),
        ("shift", c_void_p),
        ("stride_n", c_int64),
        ("stride_y", c_int64),
        ("stride_x", c_int64),
        ("stride_c", c_int64),
        ("dtype", c_int32),
        ("height", c_int32),
        ("width", c_int32),
        ("channels", c_int32),
        ("patch", c_int32),
    )


class LossArgs(Structure):
    """Prediction of the removed patches."""

    _fields_ = (
        ("pred", c_void_p),
        ("ids_remove", c_void_p),
        ("error", c_void_p),
        ("samples", c_int64),
        ("removed", c_int32),
        ("pred_dtype", c_int32),
        ("norm_pix", c_int32),
        ("factor", c_float),
    )


_MASKING, _IMAGE, _LOSS, _P = POINTER(MaskingArgs), POINTER(ImageArgs), POINTER(LossArgs), c_void_p

SIGNATURES: dict[str, tuple[type, ...]] = {
    "mae_mask": (_MASKING, _P),
    "mae_mask_tokens": (_MASKING, _P, c_int64, c_int64, c_int32, c_int32, _P, _P),
    "mae_mask_tokens_backward": (_P, _P, c_int64, c_int32, c_int32, c_int32, c_int32, _P, _P),
    "mae_mask_image": (_MASKING, _IMAGE, _P, c_int32, _P),
    "mae_pixel_loss": (_IMAGE, _LOSS, _P, _P, _P),
    "mae_pixel_loss_backward": (_IMAGE, _LOSS, _P, _P, _P),
}


def load_library(path: str) -> ctypes.CDLL:
    """Load a build of launchers.cu; each function returns a CUDA error number, 0 for success."""
    library = ctypes.CDLL(path)
    for name, arguments in SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes = arguments
        function.restype = ctypes.c_int
    return library
