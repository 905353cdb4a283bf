"""The terminal: progress, numbers in words, commands to copy, Ctrl-C. Knows nothing about images."""
