"""Results in words, for people: on the terminal, and in the reports of runs and comparisons."""
