"""Answer formats and prompts: how to ask, write, parse and hint."""
