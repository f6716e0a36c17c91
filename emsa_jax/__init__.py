"""emsa_jax: explainable multimodal sentiment analysis, trained in JAX."""
