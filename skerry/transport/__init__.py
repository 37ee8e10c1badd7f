"""Links that carry frames, and the loop that drives a session machine over one. Nothing here knows objects."""
