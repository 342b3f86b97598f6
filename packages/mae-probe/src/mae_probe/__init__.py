"""Linear probing, features, kNN and attention maps of masked autoencoders on PaddlePaddle."""

__version__ = "0.1.0"
