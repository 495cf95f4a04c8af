"""`refinenet-jax serve`: a web page that finds hands in pictures, clips and a webcam, and a JSON API beside it."""
