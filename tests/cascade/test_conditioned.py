"""A request of another conditioning gets that one's network and weights; of the same, the network it came with."""

import json
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from monai.inferers import Inferer

from bundle.cascade import CascadeInferer, ConditionedInferer
from tests.laws import image

ROOT = Path(__file__).parents[2]


def asked(**options):
    """The parser of configs/inference.json as MONAI Label has it for a request with options."""
    parser = ConfigParser()
    parser.read_config(str(ROOT / "configs" / "inference.json"))
    parser.update({"bundle_root": str(ROOT), "device": "cpu", "amp": False, "tile_size": 24})
    parser["displayable_configs"].update(options)
    return parser


def cascade(conditioning, weights):
    network = asked(conditioning=conditioning).get_parsed_content("network_def")
    network.load_state_dict(torch.load(ROOT / "models" / weights, weights_only=True))
    return network.eval()


@pytest.fixture(scope="module")
def loaded():
    """What a server has loaded when it started."""
    return cascade("image", "model.pt")


def test_another_conditioning_has_its_own_network_and_weights(loaded):
    x = image((20, 18, 8))
    found = asked(conditioning="sketch").get_parsed_content("inferer")(x, loaded)
    plain = CascadeInferer(24, progress=False)
    assert torch.equal(found, plain(x, cascade("sketch", "model_sketch.pt")))
    assert not torch.allclose(found, plain(x, loaded), atol=0.1)


def test_the_network_of_the_same_conditioning_is_taken_as_it_is(loaded, tmp_path):
    x, seen = image((8, 8, 8)), []
    inferer = ConditionedInferer(lambda inputs, network: seen.append(network) or inputs, loaded, tmp_path / "no.pt")
    trained = torch.nn.Module()
    trained.reach, trained.conditioning = loaded.reach, "image"
    assert inferer(x, trained) is x and seen == [trained]


def test_a_conditioning_without_weights_says_so(loaded):
    with pytest.raises(FileNotFoundError, match=r"conditioning 'anchored' has no weights at .*model_anchored.pt"):
        asked(conditioning="anchored").get_parsed_content("inferer")(image((8, 8, 8)), loaded)


def test_options_reach_what_they_are_for():
    parser = asked(memory_budget="64MiB", seed=7)
    inferer = parser.get_parsed_content("inferer")
    assert inferer.inferer.memory_budget == 64 * 2**20 and inferer.seed == 7
    config = json.loads((ROOT / "configs" / "inference.json").read_text())
    assert all(config[option] == f"@displayable_configs#{option}" for option in config["displayable_configs"])


def test_an_answer_depends_on_the_seed_and_not_on_the_answers_before(loaded):
    class Noise(Inferer):
        def __call__(self, inputs, *_, **__):
            return torch.rand_like(inputs)

    x = torch.zeros(1, 1, 4)
    first, again, other = (ConditionedInferer(Noise(), loaded, "", seed)(x, loaded) for seed in (0, "0", 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    with pytest.raises(ValueError, match="seed 'x' is not a whole number"):
        ConditionedInferer(Noise(), loaded, "", "x")
