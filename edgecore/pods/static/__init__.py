"""Static pods: what a gateway runs because a file on it says so, with or without a cloud."""
