"""Station 4, understand: what is computed from events at rest. PURE."""
