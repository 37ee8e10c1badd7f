"""KubeEdge's rules in the cloud: messages delivered to their targets, and requests carried to gateways."""
