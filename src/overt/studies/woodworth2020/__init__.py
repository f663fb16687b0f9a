"""Woodworth et al. 2020: kernel and rich regimes, and explicit penalties in their place."""
