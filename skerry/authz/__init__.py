"""Who may do what, by roles: decided in the same way in the cloud and on a gateway."""
