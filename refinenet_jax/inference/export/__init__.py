"""`refinenet-jax export`: writes a network as one file for other runtimes and compares it with the network."""
