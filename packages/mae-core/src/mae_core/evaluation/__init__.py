"""Scoring a classifier exactly over any number of ranks: `classifier` runs it, `scores` counts, `tables` writes;
and what features show without training: `features`, `attention`."""
