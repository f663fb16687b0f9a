"""Weights truncated at the ranks that keep what a model does, and how many numbers that leaves."""
