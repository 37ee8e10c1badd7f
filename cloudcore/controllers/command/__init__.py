"""Commands: offered to gateways, ended when nobody can carry them out any more, cleaned away."""
