"""The ground floor: one copy each of what every room needs; imports nothing of Overt."""
