"""A run around the training loop: its folder, what is written into it, how it begins and ends."""
