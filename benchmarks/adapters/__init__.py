"""Models of other libraries on regard: what works, and what users get of it. Not installed."""
