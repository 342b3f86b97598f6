"""The config of a stage: from defaults, files, flags, weights or a call to plain arguments."""
