"""A small learned codec of pictures, as a rival with the usual form: transform, hyperprior, one file (`codec.py` has the whole)."""
