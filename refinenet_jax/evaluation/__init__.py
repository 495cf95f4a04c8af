"""Masks and truth -> numbers, pictures, reasons."""
