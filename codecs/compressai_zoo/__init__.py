"""Published learned codecs of pictures by CompressAI's networks, from checkpoints that lie on this machine."""
