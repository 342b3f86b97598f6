"""The training loop and what a run keeps: a stage brings model, optimizer, loss and batches.

Reading order: `engine` (one step), `plan`, `precision`, `optim`, `validation`, `checkpoints/checkpoint` (written),
`checkpoints/retention` (which stay), `run_folder`, `stop_request`.
"""
