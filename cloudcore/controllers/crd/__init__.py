"""CustomResourceDefinitions: their names accepted, their kinds served, their objects deleted with them."""
