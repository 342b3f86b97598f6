"""Linear probing of masked autoencoders on PaddlePaddle; release 0.1 contains no training."""

__version__ = "0.1.0"
