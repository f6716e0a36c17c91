"""A run's Config, put together from the options of the rooms, and its presets. Imports no jax."""
