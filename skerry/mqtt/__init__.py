"""MQTT 3.1.1 and 5 from the side of a broker, as pure code: packets, topics, and the machine between them."""
