"""Checks and timings of the CUDA kernels in packages/mae-core/csrc, without Paddle."""
