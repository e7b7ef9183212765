"""Films in and out by PyAV (FFmpeg): what a file announces, its frames one after the other, and how they are written."""
