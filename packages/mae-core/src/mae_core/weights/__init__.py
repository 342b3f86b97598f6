"""Weights: every published MAE checkpoint in, every usual format out; no pickle of a file is ever executed.

Reading order: `formats/` (bytes), `layout` (names), `layouts` (each family), `translate` (shapes), `sources`,
`targets`, `checkpoint_folder` (our own runs), `channels` (of other images), `load` (into a model), `convert` and
`inspection` (what `mae-core` runs).
"""
