"""What the nodes tell the editor. Saved workflows hold widgets and outputs by position: neither may move."""

import json
from inspect import signature

import pytest
from comfy_api.latest import io

from persona_core.recipes import KV_PRESETS, PRESETS
from tools.describe_nodes import described
from tools.write_locales import DESCRIBED

WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
# Node id: widgets, outputs. Never reorder, rename or remove one; new ones go at the end.
FROZEN = {
    "PersonaLearn": (
        "name supercategory tokens steps learning_rate batch_size te_weight resolution crop_to_face mirror "
        "train_seed reuse attention_weight preset attention_reduction caption minutes context_weight start "
        "loss_weights keep_mapper",
        "persona loss path",
    ),
    "PersonaKVTokens": (
        "name supercategory pairs steps learning_rate batch_size attention_weight attention_tokens reference_word "
        "te_weight augment resolution crop_to_face mirror train_seed reuse attention_reduction caption preset minutes "
        "context_weight start loss_weights",
        "persona loss path",
    ),
    "PersonaStagePartition": ("supercategory grid_step noise_draws resolution draw_seed", "stages chart maps"),
    "PersonaStages": ("t_lo t_hi", "stages"),
    "PersonaApply": (
        "placeholder strength early_stage late_stage start_at end_at key_locking context_preservation",
        "model clip",
    ),
    "PersonaAttention": ("text negative seed steps cfg sampler_name scheduler timesteps", "attention image figure"),
    "PersonaLoad": ("persona_name", "persona"),
    "PersonaSave": ("name consent_by consent_on consent_purpose consent_until form", "path"),
    "PersonaInfo": ("", "text loss"),
    "PersonaFaceMask": ("face_index detector grow crop_size no_face", "mask face boxes"),
    "PersonaScore": ("text threshold keep_score", "image boxes scores id prompt detect id_prompt text"),
    "PersonaPickBest": ("count", "image latent"),
    "PersonaSavePicture": ("filename_prefix name_personas watermark", ""),
    "PersonaVerifyPicture": ("file", "text"),
}


@pytest.fixture(scope="module")
def nodes(server):
    """The pack's nodes as /object_info describes them."""
    return {
        key: node
        for key, node in server.object_info().items()
        if node["python_module"] == "custom_nodes.ComfyUI-Persona"
    }


def inputs(node: dict) -> dict[str, tuple[str, dict]]:
    """Name: (type, options), in the editor's order."""
    return {
        name: (node["input"][kind][name][0], node["input"][kind][name][1])
        for kind in ("required", "optional")
        for name in node["input_order"].get(kind, [])
    }


def test_ids_widgets_and_outputs_stay_where_they_are(nodes):
    found = {
        key: (
            " ".join(name for name, (kind, _) in inputs(node).items() if kind in WIDGETS),
            " ".join(node["output_name"]),
        )
        for key, node in nodes.items()
    }
    assert found == FROZEN


def test_everything_is_explained(nodes):
    for key, node in nodes.items():
        assert node["display_name"] and node["description"], key
        tooltips = {name: options.get("tooltip", "").strip() for name, (_, options) in inputs(node).items()}
        assert all(tooltips.values()), f"{key}: {tooltips}"
        assert all(node["output_tooltips"]) and len(node["output_tooltips"]) == len(node["output"]), key


def test_nodes_have_other_words_to_be_found_by_where_the_host_takes_them(nodes):
    taken = "search_aliases" in signature(io.Schema).parameters
    for key, node in nodes.items():
        found = node.get("search_aliases") or []
        assert bool(found) == taken and len(found) == len(set(found)), key
        assert all(one and one == one.strip(" ,") for one in found), key


def test_numbers_have_a_range_and_a_default_inside(nodes):
    for key, node in nodes.items():
        for name, (kind, options) in inputs(node).items():
            if kind in ("INT", "FLOAT"):
                assert options["min"] <= options["default"] <= options["max"], f"{key}.{name}"


FIRST = {
    "PersonaLearn": {"name", "supercategory", "preset", "caption"},
    "PersonaKVTokens": {"name", "supercategory", "preset", "caption"},
    "PersonaApply": {"placeholder", "strength"},
    "PersonaScore": {"text", "keep_score"},
}


def test_few_widgets_come_first_and_the_others_are_marked_as_advanced(nodes):
    for key, node in nodes.items():
        shown = {
            name for name, (kind, options) in inputs(node).items() if kind in WIDGETS and not options.get("advanced")
        }
        assert shown == FIRST.get(key, {name for name, (kind, _) in inputs(node).items() if kind in WIDGETS}), key
        sockets = [options for kind, options in inputs(node).values() if kind not in WIDGETS]
        assert not any(options.get("advanced") for options in sockets), key


def test_the_presets(nodes):
    for node, names in (("PersonaLearn", [*PRESETS]), ("PersonaKVTokens", [*KV_PRESETS])):
        _, options = inputs(nodes[node])["preset"]
        assert options["options"] == names and options["default"] == "auto"


def test_every_choice_has_a_default_that_is_one_of_them(nodes):
    for key, node in nodes.items():
        for name, (kind, options) in inputs(node).items():
            if kind == "COMBO" and name not in ("persona_name", "file"):  # their choices are the files there are
                assert options["default"] in options["options"], f"{key}.{name}"


def test_the_nodes_are_described_for_hosts_in_which_they_cannot_run(server):
    """What this host says of them; newer ones say more."""
    written, found = json.loads(DESCRIBED.read_text()), described(server.object_info())
    assert written.keys() == found.keys()
    for name, node in written.items():
        for kind, part in node.pop("input").items():
            inputs = found[name]["input"][kind]
            assert list(part) == list(inputs), name
            for key, (sort, options) in part.items():
                assert inputs[key][0] == sort and options.items() <= inputs[key][1].items(), f"{name}.{key}"
        assert node.items() <= found[name].items(), f"{name}: run python -m tools.describe_nodes"
