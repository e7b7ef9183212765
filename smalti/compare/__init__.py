"""Codec comparison reports: any codecs on any signals by real bytes, for people and for machines."""
