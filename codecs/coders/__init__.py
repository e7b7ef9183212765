"""Exact integer coders: the same bytes on every machine."""
