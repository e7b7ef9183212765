"""The codecs that everybody has, behind the same contract as ours: what a token file must be compared with."""
