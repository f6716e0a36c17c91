from emsa_jax.data.records.records_manifest import quantiles


def test_quantiles_are_lengths_that_occur():
    found = quantiles([5, 1, 9, 3])
    assert found == {"0": 1, "0.25": 1, "0.5": 3, "0.75": 5, "0.9": 9, "0.95": 9, "0.99": 9, "1": 9}
