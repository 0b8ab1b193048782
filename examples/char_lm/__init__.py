"""A small transformer in NumPy that is trained: layers with their gradients, model, optimizer."""
