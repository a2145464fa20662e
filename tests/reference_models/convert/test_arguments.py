"""Constructor arguments of damaged files: a config that a network can be built of, or an error of ours."""

from __future__ import annotations

import contextlib
import dataclasses
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evalkit.errors import CheckpointError, EvalkitError
from reference_models.convert.arguments import Arguments
from reference_models.stylegan2 import convert as stylegan2
from reference_models.stylegan2.config import DiscriminatorConfig
from reference_models.stylegan2.config import GeneratorConfig as StyleGAN2
from reference_models.stylegan3 import convert as stylegan3
from reference_models.stylegan3.config import GeneratorConfig as StyleGAN3

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 20),
    st.sampled_from([16, 32, 64, 1024, 2**40, -(2**70), 10**9]),
    st.floats(),
    st.sampled_from(
        ["skip", "resnet", "lrelu", "", b"x", [1, 3, 3, 1], [1, "a"], [], (math.nan,), {}, np.ones(3)]
    ),
    st.dictionaries(
        st.sampled_from(["num_layers", "channel_base", "activation", "conv_clamp", "w_avg_beta", "x"]),
        st.one_of(st.integers(-2, 2000), st.floats(), st.none(), st.text(max_size=3)),
        max_size=3,
    ),
)


def arguments(config: type) -> st.SearchStrategy[dict[str, object]]:
    names = [field.name for field in dataclasses.fields(config)]
    extra = [
        "mapping_kwargs",
        "synthesis_kwargs",
        "block_kwargs",
        "epilogue_kwargs",
        "num_fp16_res",
        "unheard_of",
    ]
    return st.dictionaries(st.sampled_from(names + extra), VALUES, max_size=4)


@pytest.mark.parametrize(
    ("config", "read", "lay_out"),
    [
        (StyleGAN2, stylegan2.config_from_official, stylegan2.official_shapes),
        (DiscriminatorConfig, stylegan2.discriminator_config_from_official, stylegan2.official_shapes),
        (StyleGAN3, stylegan3.config_from_official, stylegan3.official_shapes),
    ],
)
def test_any_arguments_end_in_a_network_or_in_an_error_of_ours(config, read, lay_out):
    @settings(max_examples=120, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(arguments(config))
    def hold(kwargs):
        with contextlib.suppress(EvalkitError):
            lay_out(read(kwargs))

    hold()


def test_every_argument_is_accounted_for():
    given = Arguments(
        {"depth": np.int64(3), "taps": (np.float32(1), 2), "on": np.True_, "rest": 1, "more": 2}, "a net"
    )
    assert given.whole("depth", 1) == 3
    assert given.numbers("taps", ()) == (1.0, 2.0)
    assert given.flag("on", False) is True
    assert given.number_or_none("absent", None) is None
    with pytest.raises(
        CheckpointError, match=r"a net: unknown constructor argument 'rest', 'more' \(nearest"
    ):
        given.finish()
    given.ignore("rest", "more")
    given.finish()
