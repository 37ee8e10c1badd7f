"""The gateway's agent: keeps pods and devices working with or without the cloud."""
