"""A page to listen to: each sound beside what models and rivals make of it, with real rates, scores and spectrograms."""
