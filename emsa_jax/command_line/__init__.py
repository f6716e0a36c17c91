"""`emsa`, the command line for people: a thin layer over the configs of `emsa_jax.main`."""
