"""A tiny InsightFace model pack for tests: real ONNX files with the real models' inputs and outputs.

InsightFace routes them and post-processes their answers as it does with its own. They see coloured cells,
not faces.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def head_points() -> np.ndarray:
    """106 points [106, 2] in InsightFace's order on a face 1 high, its box centre at 0, 0."""

    def ring(x, y, rx, ry, n, turn=2 * np.pi):
        angle = np.linspace(0, turn, n, endpoint=turn < 6)
        return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], -1)

    jaw = ring(0, -0.1, 0.38, 0.6, 33, np.pi)
    return np.concatenate(
        [
            jaw,
            ring(-0.18, -0.1, 0.07, 0.03, 10),
            ring(-0.18, -0.25, 0.1, 0.02, 9),
            ring(0, 0.28, 0.14, 0.05, 20),
            ring(0, 0.08, 0.08, 0.1, 15),
            ring(0.18, -0.1, 0.07, 0.03, 10),
            ring(0.18, -0.25, 0.1, 0.02, 9),
        ]
    )


def _save_model(path: Path, nodes, weights, inputs, outputs):
    def value(name, shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    constants = []
    for name, array in weights.items():
        dtype = np.int64 if name.startswith("shape") else np.float32
        constants.append(numpy_helper.from_array(np.asarray(array, dtype), name))
    graph = helper.make_graph(nodes, path.stem, [value(*i) for i in inputs], [value(*o) for o in outputs], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def save_detector(path: Path) -> None:
    """SCRFD's signature: nine outputs, strides 8, 16, 32, two anchors.

    A red cell of 32 pixels is a face of 96 pixels, a yellow one of 160. A blue cell is none, and so a red one
    is none where channels are mixed up.
    """
    nodes, weights, outputs = [], {}, {}
    for stride in (8, 16, 32):
        on = float(stride == 32)
        score = np.zeros((2, 3)), np.zeros(2)
        score[0][0] = on * np.array([0.5, 0, -0.5])
        distance = np.zeros((8, 3)), np.tile([1, 1, 2, 2], 2)
        distance[0][:, 1] = 0.5
        distance = distance[0], distance[1] + 0.5
        points = np.zeros((20, 3)), np.tile([0, 0, 1, 0, 0.5, 0.5, 0, 1, 1, 1], 2)
        nodes.append(
            helper.make_node(
                "AveragePool", ["input.1"], [f"cells{stride}"], kernel_shape=[stride] * 2, strides=[stride] * 2
            )
        )
        for name, (weight, bias), size in (("score", score, 1), ("bbox", distance, 4), ("kps", points, 10)):
            key = f"{name}{stride}"
            weights |= {f"w_{key}": weight[..., None, None], f"b_{key}": bias, f"shape_{key}": [-1, size]}
            nodes += [
                helper.make_node("Conv", [f"cells{stride}", f"w_{key}", f"b_{key}"], [f"map_{key}"]),
                helper.make_node("Transpose", [f"map_{key}"], [f"last_{key}"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"last_{key}", f"shape_{key}"], [key]),
            ]
            outputs[key] = ("n_" + key, size)
    ordered = [f"{name}{stride}" for name in ("score", "bbox", "kps") for stride in (8, 16, 32)]
    _save_model(
        path, nodes, weights, inputs=[("input.1", [1, 3, "?", "?"])], outputs=[(key, outputs[key]) for key in ordered]
    )


def save_landmarks(path: Path) -> None:
    """landmark_2d_106's signature. It answers `head_points` for each; its crop is 1.5 times the box."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["data"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["fc1"]),
    ]
    weights = {"w": np.zeros((3, 212)), "b": (head_points() / 0.75).reshape(-1)}
    _save_model(path, nodes, weights, [("data", ["None", 3, 192, 192])], [("fc1", ["None", 212])])


def save_recognition(path: Path) -> None:
    """ArcFace's signature: 512 numbers of an aligned face, here of its mean colour alone."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["input.1"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["683"]),
    ]
    weights = {"w": np.random.default_rng(0).normal(size=(3, 512)), "b": np.zeros(512)}
    _save_model(path, nodes, weights, [("input.1", ["None", 3, 112, 112])], [("683", ["None", 512])])


def save_pack(folder: Path, landmarks: bool = True, recognition: bool = False) -> Path:
    """A model pack in `folder`, which is made; without landmarks as buffalo_sc has it. Returns the folder."""
    folder.mkdir(parents=True)
    save_detector(folder / "det_10g.onnx")
    if recognition:
        save_recognition(folder / "w600k_r50.onnx")
    if landmarks:
        save_landmarks(folder / "2d106det.onnx")
    return folder
