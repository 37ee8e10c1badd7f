"""The same API from the edge's store, over a unix socket."""
