"""Models that see: patches of images, transformers of `regard.nn` over them, and their training."""
