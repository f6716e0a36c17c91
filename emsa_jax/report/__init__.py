"""Pages that a person reads: single files, no network."""
