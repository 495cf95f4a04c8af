"""The data doctor, `refinenet-jax check`: records of every example, findings about them, a report and a contact sheet."""
