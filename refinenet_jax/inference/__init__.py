"""Prediction: applies a checkpoint to pictures, videos and cameras."""
