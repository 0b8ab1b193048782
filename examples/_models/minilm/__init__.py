"""all-MiniLM-L6-v2, a trained encoder of sentences, in layers of regard.nn."""
