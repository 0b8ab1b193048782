"""A small transformer in NumPy that is trained: the model, its course, its texts."""
