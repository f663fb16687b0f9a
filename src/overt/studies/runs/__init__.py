"""Making and storing runs: the folder of runs, what is in it, and the workers that fill it."""
