"""How well a model does: metrics, and what is measured, written down and drawn from its answers."""
