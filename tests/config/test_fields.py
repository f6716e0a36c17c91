from dataclasses import dataclass
from typing import ClassVar, Literal

import pytest

from emsa_jax.config.edge import from_config_dict, results_digest
from emsa_jax.config.fields import Options, groups, leaves, option, type_name, value_text, without_effect
from emsa_jax.errors import InputError


@dataclass(frozen=True)
class Inner(Options):
    group: ClassVar[str] = "inner"
    share: float = option(0.5, "a share", above=0, high=1)
    rows: tuple[int, ...] = option((1, 2), "rows of each", low=1)


@dataclass(frozen=True)
class Outer(Options):
    workers: int = option(0, "processes", low=0, affects_results=False)
    weights: dict[str, float] = option({"a": 1.0}, "weights", low=0, below=10)
    inner: Inner = Inner()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"share": 0.0}, "inner.share must be above 0 and at most 1, not 0.0: a share"),
        ({"share": float("nan")}, "inner.share must be above 0"),
        ({"rows": (1, 0)}, r"inner.rows must be at least 1, not \(1, 0\): rows of each"),
    ],
)
def test_ranges_are_checked_with_the_fields_own_words(change, message):
    with pytest.raises(InputError, match=message):
        Inner(**change)
    with pytest.raises(InputError, match="config.inner.share must be above 0 and at most 1, not 2.0: a share"):
        from_config_dict(Outer, {"inner": {"share": 2.0}})
    with pytest.raises(InputError, match="workers must be at most 2147483647, not 2147483648: processes"):
        Outer(workers=2**31)
    with pytest.raises(InputError, match="inner.rows must be"):
        Inner(rows=(1, 2**31))
    with pytest.raises(InputError, match="config.inner.share must be a finite number, not a huge number"):
        from_config_dict(Outer, {"inner": {"share": 10**400}})
    with pytest.raises(InputError, match="weights.a must be at least 0 and below 10, not 10.0: weights"):
        Outer(weights={"a": 10.0})


def test_leaves_and_groups():
    found = list(leaves(Outer()))
    assert [leaf.path for leaf in found] == ["workers", "weights", "inner.share", "inner.rows"]
    assert [leaf.group for leaf in found] == ["", "", "inner", "inner"]
    assert groups(Outer()).__next__() == ("inner", Inner())
    assert Outer().weights is not Outer().weights


def test_what_changes_no_result_is_left_out_of_the_digest():
    assert without_effect(Outer()) == ("workers",)
    assert results_digest(Outer(workers=3)) == results_digest(Outer())
    assert results_digest(Outer(inner=Inner(share=0.1))) != results_digest(Outer())


def test_types_and_values_as_they_are_written():
    names = {
        "int": int,
        "float|none": float | None,
        "'a'|int": Literal["a"] | int,
        "dict[str, float]": dict[str, float],
        "tuple[int, ...]": tuple[int, ...],
    }
    assert {type_name(annotation): annotation for annotation in names.values()} == names
    values = [("a b", "a b"), (None, "none"), ((1,), "(1,)"), (("a", "b"), "('a','b')")]
    assert [value_text(value) for value, _ in values] == [text for _, text in values]
