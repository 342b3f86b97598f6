"""What a trained model says of images that are in no list: reading them, the forward pass, results, files."""
