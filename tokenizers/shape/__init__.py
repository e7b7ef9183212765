"""Shapes <-> tokens."""
