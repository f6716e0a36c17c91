"""Process start-up, the mesh of devices, sharding rules, and what processes tell each other."""
