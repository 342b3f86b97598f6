"""Segmentation with a frozen encoder: nearest patches, or one linear layer."""
