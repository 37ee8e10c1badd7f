"""Rules that this gateway carries out by itself, with or without the cloud."""
