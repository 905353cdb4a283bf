"""The terminal: progress, numbers in words, commands as they are to be typed, Ctrl-C. Knows nothing of images."""
