"""Train the masked prior of a picture model: `python -m smalti.recipes.train_prior`."""
