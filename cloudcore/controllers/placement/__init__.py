"""Join tokens that nobody needs any more."""
