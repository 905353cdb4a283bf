"""What :mod:`app.repository` is made of: files found, tried, loaded, named and let go of. Knows no HTTP."""
