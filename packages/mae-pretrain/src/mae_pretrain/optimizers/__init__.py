"""What moves the weights in pre-training: AdamW of mae-core, or Muon."""
