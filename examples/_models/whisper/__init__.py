"""Whisper tiny.en in NumPy, its layers by regard.nn and its attention by regard."""
