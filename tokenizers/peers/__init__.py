"""Public tokenizers behind our contract: networks of other projects, or of ours with their weights, and the checkpoints they lie in.

A checkpoint is data: safetensors, or torch files read with `weights_only`. Its configuration says layout, vocabulary and rates; which
family it is, its model type or the names of its tensors say (`sources.py`).
"""
