"""Data sets on disk -> samples -> prepared records -> batches."""
