"""Folders of images: what lies in them, its classes, and what is held out."""
