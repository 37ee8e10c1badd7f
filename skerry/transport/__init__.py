"""Links that carry frames, and know nothing of what they carry."""
