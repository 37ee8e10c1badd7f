"""KubeEdge's event bus: apps and mappers that talk about devices over this gateway's MQTT broker."""
