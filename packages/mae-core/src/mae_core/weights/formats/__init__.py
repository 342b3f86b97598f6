"""Bytes to named arrays and back, one file format per module; no pickle is ever executed.

Reading order: `pickles` (a pickle as data) over `pickle_values` and `pickled_arrays`; `torch_file`, `paddle_file` and
`safetensors_file` read, `torch_writer` writes; `shards` finds the files of sharded weights.
"""
