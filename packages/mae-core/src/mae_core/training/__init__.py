"""The training loop and what a run keeps: a stage brings model, optimizer, loss and batches.

Reading order: `engine` (one step), `precision`, `optim`, `schedule`, `ema`, `validation`, `checkpoint` (written),
`retention` (which stay), `run_folder`, `stop_request`.
"""
