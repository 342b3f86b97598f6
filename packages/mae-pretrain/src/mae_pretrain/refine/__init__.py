"""Refinement of a finished MAE by nearest-neighbour contrast (MIM-Refiner, arXiv 2402.10093; MAE-CT, 2304.10520).

Reading order: `neighbours`, `loss`, `batch_norm`, `heads`, `model` (one step), `schedule`, `optimizer`, `train`.
"""
