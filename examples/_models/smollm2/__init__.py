"""SmolLM2, a language model of 135 million parameters, in NumPy and regard."""
