"""How M = E[JᵀJ] is found: exactly, from random products, or by Lanczos iteration; one file a method."""
