"""MQTT devices as twins."""
