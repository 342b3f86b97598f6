"""From a stored image to what a model sees: `pipelines` puts the others together."""
