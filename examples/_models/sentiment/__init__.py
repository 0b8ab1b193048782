"""Classes of texts: the data, two encoders, and their training."""
