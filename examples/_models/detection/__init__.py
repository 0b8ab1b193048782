"""A model that finds objects by learned queries: drawn scenes, set matching, measures."""
