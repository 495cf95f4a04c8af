"""`refinenet-jax export`: a network as one file for other runtimes, compared with it before it is handed over."""
