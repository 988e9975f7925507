"""The classification API of port 8080, with health, metrics and the admin call."""

from routewright.gateway.api.app import Reload, create_api, create_metrics_app

__all__ = ["Reload", "create_api", "create_metrics_app"]
