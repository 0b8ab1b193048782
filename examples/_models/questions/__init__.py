"""Questions: stories that are made up, spans of a passage, replies, and answers that are looked up."""
