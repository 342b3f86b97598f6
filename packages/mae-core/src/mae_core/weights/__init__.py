"""Weights: every published MAE checkpoint in, every usual format out; no pickle of a file is ever executed.

Reading order: `formats/` (bytes), `parameter_names` and `layouts` (names, each family), `translate` (shapes), `sources`
(read), `checkpoint_folder` (our own runs), `adaptation` (other images), `load` (into a model), `convert` (written).
"""
