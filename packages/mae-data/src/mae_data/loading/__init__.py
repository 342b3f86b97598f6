"""From a source to batches: `dataset`, `sampler`, `loader`, and the processes that work for it."""
