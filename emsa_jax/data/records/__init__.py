"""Prepared clips on disk: one msgpack record per clip in ArrayRecord shards, an index, and a manifest.

A directory of records holds `<split>-<number>.array_record` shards, `index.jsonl` (one `Entry` a line, in record
order) and `manifest.json`, which is written last: without it the directory is not a set of records.

    entries = read_index("records", "train")
    clip = unpack(RecordSource("records", "train")[0])
"""

from emsa_jax.data.records.record import SCHEMA, Clip, Entry, entry, pack, unpack, unpack_jpegs, unpack_pcm
from emsa_jax.data.records.records_manifest import INDEX, MANIFEST, Manifest, read_index, read_manifest, verify
from emsa_jax.data.records.shards import RecordSource

__all__ = [
    "INDEX",
    "MANIFEST",
    "SCHEMA",
    "Clip",
    "Entry",
    "Manifest",
    "RecordSource",
    "entry",
    "pack",
    "read_index",
    "read_manifest",
    "unpack",
    "unpack_jpegs",
    "unpack_pcm",
    "verify",
]
