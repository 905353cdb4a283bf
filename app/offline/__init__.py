"""``python -m app predict``: files classified without a service. Imports nothing of HTTP."""
