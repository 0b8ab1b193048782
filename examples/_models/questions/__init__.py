"""Questions: made-up stories, spans of a passage, replies, and answers that are looked up."""
