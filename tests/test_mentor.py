"""MentorNet checkpoints: reading and writing the release's format, and rejected files."""

import hashlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import MENTORNET, ROOT

from mentornet import InputError, MentorNet, load_mentornet, save_mentornet
from mentornet.weighting.mentor import VARIABLE_SHAPES
from mentornet.weighting.mentor_checkpoints import shipped_mentornets


def values(mentor):
    return {name: variable.numpy() for name, variable in mentor.tf1_variables.items()}


def test_a_checkpoint_of_ours_equals_the_releases(tmp_path):
    mentor = load_mentornet(MENTORNET)
    save_mentornet(mentor, str(tmp_path / "copy"))
    ours, theirs = (tf.train.list_variables(p) for p in (str(tmp_path / "copy"), MENTORNET))
    assert ours == [(n, s) for n, s in theirs if n.startswith("mentornet/")]
    for name, value in values(load_mentornet(str(tmp_path / "copy"))).items():
        np.testing.assert_array_equal(value, values(mentor)[name])


def test_tensorflow_1_saver_reads_ours(tmp_path):
    """Restores as the 2018 code does: a graph, a tf.train.Saver, a session."""
    mentor = MentorNet(seed=3)
    save_mentornet(mentor, str(tmp_path / "ours"))
    v1, expected = tf.compat.v1, values(mentor)
    with tf.Graph().as_default(), v1.Session() as session:
        variables = {
            name: v1.get_variable(
                name, shape, use_resource=False, initializer=v1.zeros_initializer()
            )
            for name, shape in ((n, v.shape) for n, v in expected.items())
        }
        v1.train.Saver().restore(session, str(tmp_path / "ours"))
        for name, variable in variables.items():
            np.testing.assert_array_equal(session.run(variable), expected[name])


def test_a_directory_means_its_latest_checkpoint(tmp_path):
    for seed in (0, 1):
        save_mentornet(MentorNet(seed=seed), str(tmp_path / f"m-{seed}"))
    kernel = "mentornet/Variable"
    loaded = values(load_mentornet(str(tmp_path)))[kernel]
    np.testing.assert_array_equal(loaded, values(MentorNet(seed=1))[kernel])
    for damaged in (b"", b"\xff\xfe"):
        (tmp_path / "checkpoint").write_bytes(damaged)
        with pytest.raises(InputError, match="No MentorNet checkpoint"):
            load_mentornet(str(tmp_path))
    (tmp_path / "checkpoint").unlink()
    with pytest.raises(InputError, match="No MentorNet checkpoint"):
        load_mentornet(str(tmp_path))
    for file in tmp_path.glob("m-1*"):
        file.unlink()
    loaded = values(load_mentornet(str(tmp_path)))[kernel]
    np.testing.assert_array_equal(loaded, values(MentorNet(seed=0))[kernel])


def test_more_labels(tmp_path):
    save_mentornet(MentorNet(num_labels=10), str(tmp_path / "ten"))
    mentor = load_mentornet(str(tmp_path / "ten"))
    assert mentor.num_labels == 10
    assert MentorNet.from_config(mentor.get_config()).num_labels == 10
    assert mentor(tf.constant([[1.0, 0.0, 9.0, 120.0]])).shape == (1, 1)


def test_missing_or_damaged(tmp_path):
    with pytest.raises(InputError, match=r"shipped curriculum \(.*mentornet_pd.*self_paced"):
        load_mentornet(str(tmp_path / "none"))
    mentor = MentorNet()
    names = [name for name in VARIABLE_SHAPES if name != "mentornet/Variable_2"]
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "lacking"),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[mentor.tf1_variables[name].value for name in names],
    )
    with pytest.raises(InputError, match="it lacks mentornet/Variable_2"):
        load_mentornet(str(tmp_path / "lacking"))
    for name in ("mentornet/label_embedding", "mentornet/features"):
        tensors = {n: v.value for n, v in mentor.tf1_variables.items()} | {
            name: tf.constant("loss")
        }
        tf.raw_ops.SaveV2(
            prefix=str(tmp_path / "scalar"),
            tensor_names=list(tensors),
            shape_and_slices=[""] * len(tensors),
            tensors=list(tensors.values()),
        )
        with pytest.raises(InputError):
            load_mentornet(str(tmp_path / "scalar"))
    save_mentornet(mentor, str(tmp_path / "cut"))
    data = tmp_path / "cut.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(InputError, match="cannot be read"):
        load_mentornet(str(tmp_path / "cut"))
    (tmp_path / "text.index").write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="cannot be read"):
        load_mentornet(str(tmp_path / "text"))


def test_all_predefined_curricula_are_shipped():
    assert set(shipped_mentornets()) >= {
        "baseline",
        "self_paced",
        "spcl_linear",
        "hard_example_mining",
        "focal_loss",
        "mentornet_pd",
        "mentornet_dd",
        "mentornet_dd_history",
    }


def test_the_table_of_shipped_curricula_is_that_of_the_files():
    models = ROOT / "mentornet_models"
    readme = (models / "README.md").read_text()
    for file in (models / "models").glob("*/*.data-*"):
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        assert f"{digest}  {file.relative_to(models / 'models')}" in readme
    for name in shipped_mentornets():
        assert (ROOT / "docs" / "pictures" / f"{name}.png").exists()


def test_a_loaded_mentornet_is_frozen():
    assert load_mentornet("mentornet_pd").trainable_variables == []


def test_initial_values_depend_on_the_seed():
    one, same, other = (values(MentorNet(seed=seed)) for seed in (1, 1, 2))
    for name, value in one.items():
        np.testing.assert_array_equal(value, same[name])
        assert bool((value != other[name]).any()) == (value.ndim == 2), name
    cells = [one[f"mentornet/bidirectional_rnn/{w}/basic_lstm_cell/kernel"] for w in ("fw", "bw")]
    assert (cells[0] != cells[1]).any()


def test_its_parameters_exist_before_it_is_called():
    """2 labels of 2, 100 epochs of 5, two cells of 3 * 4 + 4, and layers of 9 * 20 + 20, 20 + 1."""
    assert MentorNet().count_params() == 4 + 500 + 32 + 200 + 21


def test_it_computes_in_float32_whatever_the_policy_of_the_program():
    rows = tf.constant([[1.001, 0.501, 0, 20], [2.003, -0.333, 1, 99]])
    expected = MentorNet(seed=1)(rows)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mentor = MentorNet(seed=1)
        logits = mentor(rows)
    finally:
        keras.config.set_dtype_policy(before)
    assert logits.dtype == tf.float32
    np.testing.assert_array_equal(logits, expected)


def test_a_folder_named_like_a_shipped_mentornet(tmp_path, monkeypatch):
    """Without a checkpoint, such as one of pictures, it hides nothing; with one, it comes first."""
    monkeypatch.chdir(tmp_path)
    name, kernel = "mentornet_pd", "mentornet/Variable"
    shipped = values(load_mentornet(shipped_mentornets()[name]))[kernel]
    (tmp_path / name).mkdir()
    np.testing.assert_array_equal(values(load_mentornet(name))[kernel], shipped)
    save_mentornet(MentorNet(seed=1), f"{name}/own")
    found = values(load_mentornet(name))[kernel]
    np.testing.assert_array_equal(found, values(MentorNet(seed=1))[kernel])
