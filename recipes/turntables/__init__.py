"""Shapes on turntables: what files of a few hundred bytes keep of them, to look at from all sides."""
