"""Whether this machine is ready for a run: versions, devices, disk, memory, a step, an endpoint.

--config=configs/doctor.py [--config.policy=DIR] [--config.base_url=http://HOST:PORT/v1]    ends with 1 for a fault
"""

from emsa_jax.config.edge import to_config_dict
from emsa_jax.errors import InputError
from emsa_jax.settings.job_options import DoctorOptions


def get_config(preset: str = ""):
    """The resolved config; there are no presets."""
    if preset:
        raise InputError(f"configs/doctor.py has no presets, and so no {preset!r}")
    return to_config_dict(DoctorOptions())
