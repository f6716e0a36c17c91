"""What a job runs on: compiled programs, placement, clock, the directory of a run, and what a person sees."""
