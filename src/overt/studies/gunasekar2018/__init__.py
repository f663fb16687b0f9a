"""Gunasekar et al. 2018: implicit bias of linear convolutional networks."""
