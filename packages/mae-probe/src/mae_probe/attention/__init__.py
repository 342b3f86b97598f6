"""Where a model looks: attention of its last block, drawn over images."""
