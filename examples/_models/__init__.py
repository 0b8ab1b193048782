"""Models, data and tokenizers that the examples share; each is read by a test of its own."""
