"""Requests in, answers out, and what is around every request. Knows nothing of sockets and processes."""
