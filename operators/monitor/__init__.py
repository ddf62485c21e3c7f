"""Monitors: metrics of a stream's windows and segments, and alarms where they pass a threshold."""

from __future__ import annotations

from operators.monitor.declare import monitor
from operators.monitor.errors import CannotMonitor, WindowTooLarge
from operators.monitor.metrics import Metric, Window
from operators.monitor.operator import MonitorOperator

__all__ = ["CannotMonitor", "Metric", "MonitorOperator", "Window", "WindowTooLarge", "monitor"]
