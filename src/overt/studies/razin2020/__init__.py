"""Razin & Cohen 2020: implicit regularization that norms do not explain."""
