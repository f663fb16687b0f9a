"""Reading any torch network without leaving a trace in it."""
