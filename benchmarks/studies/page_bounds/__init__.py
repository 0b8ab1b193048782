"""How many pages of keys can be left unread, with a proven bound on the error.

Q (..., D) are queries times the scale, K (pages, rows, D) the keys of one KV head.
"""
