"""The page of `review`: one clip, its labels and its trace; a decision is one key."""

from emsa_jax.report.page import render, template

REASONS = ("an observation is wrong", "does not follow", "speaks of a label", "says little", "other language")


def review_page(by: str) -> bytes:
    """The page, as UTF-8 HTML; it asks the server that it came from for each clip. by: a reviewer's name to begin
    with."""
    return render(
        template("review.html"),
        "Traces to look at",
        template("review.css"),
        template("review.js"),
        connect="'self'",
        by=by,
        reasons=REASONS,
    )
