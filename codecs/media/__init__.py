"""Ordinary files in and out: each module reads one kind of file into a signal and writes it back."""
