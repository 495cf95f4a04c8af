"""`refinenet-jax serve`: a web page and an API, on Gradio, for pictures, clips and a webcam."""
