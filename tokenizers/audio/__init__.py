"""Sound: waveforms <-> tokens. One file per tokenizer, its network beside it."""
