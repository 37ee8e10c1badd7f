"""What travels on a link: typed frames, and the bytes they are."""
