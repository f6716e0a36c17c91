"""People look at traces: on a local page, or in a csv of their own tools; decisions go into the record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from emsa_jax.data.mel import SAMPLE_RATE
from emsa_jax.data.records import RecordSource, read_index, unpack, unpack_pcm
from emsa_jax.distill.request_media import spread
from emsa_jax.distill.review import Desk
from emsa_jax.distill.review_csv import read_csv, write_csv
from emsa_jax.distill.review_server import ReviewServer
from emsa_jax.errors import InputError
from emsa_jax.report.page import jpeg_uri, sound_uri
from emsa_jax.report.review_page import review_page
from emsa_jax.runtime.console import say
from emsa_jax.settings.job_options import ReviewOptions

FRAMES, FRAME_HEIGHT, SECONDS = 12, 180, 60  # of a clip, at most


def review(options: ReviewOptions) -> None:
    """Serves the page until it is interrupted, or writes or reads a csv; prints the counts, JSON on the last line."""
    for name in ("data", "traces"):
        if not getattr(options, name):
            raise InputError(f"config.{name}: name the directory of {'records' if name == 'data' else 'the traces'}")
    entries = read_index(options.data, options.split)
    desk = Desk(Path(options.traces), entries, options.show, options.concepts)
    refused = []
    try:
        if options.csv_out:
            say(f"{write_csv(desk, options.csv_out)} traces written to {options.csv_out}; fill in the column decision")
        elif options.csv_in:
            taken, refused = read_csv(desk, options.csv_in, options.by)
            say(f"{options.csv_in}: " + (", ".join(f"{n} {what}" for what, n in taken.items()) or "no decisions"))
        else:
            _serve(desk, options, {entry.id: i for i, entry in enumerate(entries)})
        print(json.dumps(desk.counts()), flush=True)
    finally:
        desk.record.close()
    if refused:
        more = f", and {len(refused) - 1} more rows were not taken" if len(refused) > 1 else ""
        raise InputError(f"{options.csv_in}: {refused[0]}{more}; export again and look at these")


def _serve(desk: Desk, options: ReviewOptions, places: dict[str, int]) -> None:
    source = RecordSource(options.data, options.split)

    def media(id: str) -> dict[str, Any]:
        record = source[places[id]]
        clip, pcm = unpack(record), unpack_pcm(record)[: SECONDS * SAMPLE_RATE]
        frames = [
            (jpeg_uri(clip.frames[i], FRAME_HEIGHT), f"frame {i + 1} of {len(clip.frames)}")
            for i in spread(len(clip.frames), FRAMES)
        ]
        return {"frames": frames, "sound": sound_uri(pcm, SAMPLE_RATE) if len(pcm) else ""}

    try:
        server = ReviewServer(desk, media, review_page, options.port)
    except OSError as error:
        raise InputError(f"config.port: {options.port} cannot be used: {error.strerror}") from error
    with server:
        say(
            f"{desk.counts()['left']} traces to look at; open this address, each reviewer in a window of their own, "
            f"and stop with Ctrl+C:\n{server.url}"
        )
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("stopped")
