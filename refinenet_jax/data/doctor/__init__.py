"""The data doctor, `refinenet-jax check`: records of all examples, findings, a report and a contact sheet."""
