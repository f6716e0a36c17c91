"""Advantages, losses, optimizer and checkpoints."""
