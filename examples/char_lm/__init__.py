"""A small transformer in NumPy that is trained: its layers, its course, its texts."""
