"""Structured component logging: `key=value` fields, six formats, secrets masked, nothing that raises."""

from fullon_log.core import ComponentLogger, configure_logger, get_component_logger, logger

__all__ = ["ComponentLogger", "configure_logger", "get_component_logger", "logger"]
