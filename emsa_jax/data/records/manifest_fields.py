"""Of what kind the fields of a manifest are, in the terms of `json_file.misfit`: anybody may have changed the file."""

from emsa_jax.data.sample import SPLITS

_SPLIT_FINDINGS = {"kept": int, "quarantined": int, "classes": {str: [int, int]}, "scores": {str: float}}
_OVERLAP = {"of": str, "with": str, "by": str, "clips": int, "bare": int, "among": int, "examples": [str]}
FINDINGS = {
    "splits": dict.fromkeys(SPLITS, _SPLIT_FINDINGS),
    "reasons": {str: int},
    "overlaps": [_OVERLAP],
    "notes": [{"note": str, "odd": bool, "splits": {str: int}, "examples": [str]}],
    "repeated": {"clips": int, "other_labels": int, "examples": [[str, str]]},
    "unnamed": {"files": int, "examples": [str]},
    "said": [str],
}
MANIFEST_FIELDS = {
    "schema": int,
    "dataset": str,
    "inputs": str,
    "score_range": [float, float],
    "languages": [("en", "zh")],
    "samples": dict.fromkeys(SPLITS, int),
    "quarantined": [{"id": str, "reason": str}],
    "options": {str: object},
    "files": [{"name": str, "split": SPLITS, "records": int, "bytes": int}],
    "hashes": {str: str},
    "digest": str,
    "quantiles": {str: {str: float}},
    "boundaries": [int],
    "max_frames": int,
    "max_pixels": int,
    "max_mel_frames": int,
    "max_text_length": int,
    "mean_text_length": float,
    "software": {str: str},
    "findings": ({}, FINDINGS),
}
