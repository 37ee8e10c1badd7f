"""Many regions, one declaration: what goes to which member, in which form, and how many of it."""
