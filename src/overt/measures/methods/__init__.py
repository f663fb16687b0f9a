"""Algorithms for M = E[JᵀJ]: exact, from random products, Lanczos iteration; one file each."""
