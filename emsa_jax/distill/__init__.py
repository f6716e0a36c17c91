"""Traces for the cold start: a teacher's prompts, requests, the filter, and the record of every decision."""
