"""Where mappers of KubeEdge's register, report and are told of their devices."""
