"""KubeEdge's rules on the gateway: what is heard for the cloud, and what the cloud has said here."""
