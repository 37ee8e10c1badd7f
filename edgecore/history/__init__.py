"""What the gateway itself remembers of its devices."""
