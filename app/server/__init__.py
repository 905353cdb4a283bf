"""Sockets, connections and processes: uvicorn, with limits and an orderly end. Knows nothing of routes."""
