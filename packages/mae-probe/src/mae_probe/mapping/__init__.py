"""A map of images: what lies near what in an encoder's features, as one page to look at."""
