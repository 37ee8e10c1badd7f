"""What every namespace has: a default ServiceAccount, and the certificate to trust."""
