"""Structured component logging."""
