"""How the hyperprior codec is made: `python -m smalti.recipes.train_hyperprior`."""
