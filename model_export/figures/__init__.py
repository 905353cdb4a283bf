"""How well a model does: metrics, tables and plots, computed from its answers."""
