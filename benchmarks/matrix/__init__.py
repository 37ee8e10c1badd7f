"""The offline matrix: each way in which a gateway is left alone, against each thing it may be doing just then."""
