"""Device rules that follow a device."""
