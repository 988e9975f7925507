"""The classification API of port 8080, with health, metrics and the admin call."""

from routewright.gateway.api.app import Reload, create_api, create_metrics_app
from routewright.gateway.api.endpoint import overdue_answer, oversized_answer

__all__ = [
    "Reload",
    "create_api",
    "create_metrics_app",
    "overdue_answer",
    "oversized_answer",
]
