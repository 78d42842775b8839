"""The ground: actors and supervisors with the meaning of OTP; knows nothing of telemetry."""
