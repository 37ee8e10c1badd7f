"""The MQTT broker of a gateway that has none: its sockets, its users, and what it keeps on disk."""
