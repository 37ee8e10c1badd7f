"""Forms of the runtime port."""
