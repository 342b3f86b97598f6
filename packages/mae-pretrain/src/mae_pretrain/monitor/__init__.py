"""What looks at a model while it is trained, of which images, and the strips of pictures that it leaves."""
