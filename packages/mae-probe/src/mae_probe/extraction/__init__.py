"""Features of images: made by the encoder, pooled, normed, kept in files."""
