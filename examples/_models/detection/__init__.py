"""A model that finds objects by queries for them: drawn scenes, set matching, and its measures."""
