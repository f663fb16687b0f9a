"""The inverse question: which penalty a solution looks like a minimum of."""
