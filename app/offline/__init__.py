"""``python -m app predict``: files classified without a service. Knows nothing of sockets and routes."""
