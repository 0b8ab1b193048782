"""A model that draws digits pixel by pixel, and simple models to compare it with."""
