"""Segmentation: an encoder's patch tokens become a class for each pixel."""
