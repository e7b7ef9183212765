"""Tokenizers of moving pictures."""
