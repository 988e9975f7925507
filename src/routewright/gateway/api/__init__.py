"""The classification API of port 8080, with health, metrics and the admin call."""
