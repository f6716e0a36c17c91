from pathlib import Path

from emsa_jax.settings.document import document


def test_the_page_of_options_is_of_today():
    page = Path(__file__).parents[2] / "docs" / "options.md"
    assert page.read_text() == document(), "run python -m emsa_jax.settings.document > docs/options.md"
