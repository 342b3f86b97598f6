"""Imports Paddle without what it prints about thread counts: imported first by what needs Paddle."""

from mae_core.process.runtime import import_paddle

import_paddle()
