"""The embedded world: small clips with a known cause behind each label.

make_puppets("puppets/en", PuppetWorld(domain="en"))
ceiling("puppets/en/latents.csv")
"""

from emsa_jax.data.puppets.ceiling import ceiling, concept_ceiling
from emsa_jax.data.puppets.concept_world import ConceptWorld
from emsa_jax.data.puppets.make import make_concept_puppets, make_puppets
from emsa_jax.data.puppets.world import PuppetWorld

__all__ = ["ConceptWorld", "PuppetWorld", "ceiling", "concept_ceiling", "make_concept_puppets", "make_puppets"]
