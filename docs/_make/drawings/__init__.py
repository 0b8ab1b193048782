"""What the gallery says and draws of each example, a module of its name."""
