"""What is wrong with metadata and pods, in Kubernetes' sentences: what the cloud refuses, a gateway does, too."""
