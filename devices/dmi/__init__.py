"""KubeEdge's Device Mapper Interface: what is said between a gateway and mappers, over gRPC on unix sockets."""
