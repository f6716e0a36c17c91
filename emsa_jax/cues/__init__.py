"""Emotional cues: files of them, extraction out of descriptions, and EmoCue-360, which scores them."""
