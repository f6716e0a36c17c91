"""Reward parts and how they add up."""
