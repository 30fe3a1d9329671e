"""One source a file: read, check, encode; the pipeline commits."""
