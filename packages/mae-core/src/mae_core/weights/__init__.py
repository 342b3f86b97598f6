"""Weights: every published MAE checkpoint in, every usual format out; no pickle of a file is ever executed.

Reading order: `pickles.py` (pickles as data), `torch_file.py` and `paddle_file.py` (the two formats made of them),
`layouts.py` (names), `translate.py` (shapes), `sources.py`, `targets.py`, `load.py` (into a model).
"""
