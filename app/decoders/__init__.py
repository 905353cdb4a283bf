"""What :mod:`app.images` reads files with: formats, and the checks before Pillow sees them. Knows errors alone."""
