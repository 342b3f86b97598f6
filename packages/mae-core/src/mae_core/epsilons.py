"""The small numbers of the published models: with others, the same weights give other outputs."""

LN_EPS = 1.0e-6  # of every LayerNorm
NORM_PIX_EPS = 1.0e-6  # added to a patch's variance; `kNormPixEpsilon` in csrc/launchers.h
