"""One file a verb: a call in, a reply out."""
