"""Start-up of the processes of a run, the mesh of devices, sharding rules, and values exchanged between processes."""
