"""What importing the package brings along."""

import subprocess
import sys

import mae_data


def test_public_names_exist_and_no_others():
    for name in {*mae_data.__all__} - {"__version__"}:
        assert getattr(mae_data, name).__name__ == name
    assert not hasattr(mae_data, "no_such_name")


def test_only_loading_and_mixing_need_paddle():
    program = (
        "import sys; sys.modules['paddle'] = None\n"
        "import mae_data\n"
        "for name in mae_data.__all__:\n"
        "    if name not in ('make_loader', 'mix_images', 'normalize_images', 'soft_targets'):\n"
        "        getattr(mae_data, name)\n"
        "import mae_data.loading.worker\n"
        "from mae_data.commands import demo_digits, stats, verify\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
