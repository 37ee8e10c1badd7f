"""What measurements of thousands of gateways have in common: a prepared cloud, and gateways that cost little."""
