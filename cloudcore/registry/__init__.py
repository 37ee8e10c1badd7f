"""The rules of reading and writing objects, for users and controllers alike."""
