"""Research telemetry for async experiments."""
