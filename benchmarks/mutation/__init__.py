"""Mutation testing: small changes of the source, and whether a test notices."""
