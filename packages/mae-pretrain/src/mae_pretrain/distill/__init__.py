"""Distilling a finished encoder into a smaller one, without labels (MAE-Lite, arXiv 2205.14443).

Reading order: `teacher`, `student`, `train`.
"""
