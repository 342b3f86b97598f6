"""`python -m mae_core.ops`: say which operators run, why not the fused ones, and how to build them."""

import sys

from mae_core.errors import UserError
from mae_core.libraries.compilation import BuildError, find_compiler
from mae_core.process.runtime import import_paddle


def main() -> int:
    """Print the report; return 0 where the fused operators run, 1 where they do not, 2 on a wrong setting."""
    import_paddle()
    import paddle

    from mae_core.ops import fused

    device = f"CUDA {paddle.version.cuda()}" if paddle.is_compiled_with_cuda() else "CPU"
    print(f"Paddle {paddle.__version__}, {device}")
    try:
        print(f"operators: {fused.summary()}")
        if fused.in_use():
            return 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        print(f"C++ compiler: {' '.join(find_compiler())}")
    except BuildError as error:
        print(f"C++ compiler: {error}")
    print(f"to build: {fused.BUILD_COMMAND}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
