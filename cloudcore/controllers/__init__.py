"""One room a noun: a pure plan, and the controller that carries it out."""
