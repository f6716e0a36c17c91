"""The embedded world: small clips with a known cause behind each label.

make_puppets("puppets/en", PuppetOptions(domain="en"))
ceiling("puppets/en/latents.csv")
"""

from emsa_jax.data.puppets.ceiling import ceiling, concept_ceiling
from emsa_jax.data.puppets.concept_make import make_concept_puppets
from emsa_jax.data.puppets.concept_world import ConceptOptions
from emsa_jax.data.puppets.make import make_puppets
from emsa_jax.data.puppets.world import PuppetOptions

__all__ = ["ConceptOptions", "PuppetOptions", "ceiling", "concept_ceiling", "make_concept_puppets", "make_puppets"]
