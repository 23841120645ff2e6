"""The MentorNet: a small network from a sample's loss to its weight."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import initializers

from mentornet.core.schedules import LAST_EPOCH, NUM_EPOCHS
from mentornet.weighting import features as feature_names

LABEL_EMBEDDING_SIZE = 2
EPOCH_EMBEDDING_SIZE = 5
HIDDEN_SIZE = 20
_NUM_FEATURES = LABEL_EMBEDDING_SIZE + EPOCH_EMBEDDING_SIZE + 2

HIDDEN_KERNEL = "mentornet/Variable"
OUTPUT_NAMES = ("mentornet/Variable_2", "mentornet/Variable_3")  # The logits are linear in them.
# The release's TensorFlow 1 variables and their shapes (None: one row per label).
VARIABLE_SHAPES: dict[str, tuple[int | None, ...]] = {
    "mentornet/label_embedding": (None, LABEL_EMBEDDING_SIZE),
    "mentornet/epoch_embedding": (NUM_EPOCHS, EPOCH_EMBEDDING_SIZE),
    "mentornet/bidirectional_rnn/fw/basic_lstm_cell/kernel": (3, 4),
    "mentornet/bidirectional_rnn/fw/basic_lstm_cell/bias": (4,),
    "mentornet/bidirectional_rnn/bw/basic_lstm_cell/kernel": (3, 4),
    "mentornet/bidirectional_rnn/bw/basic_lstm_cell/bias": (4,),
    HIDDEN_KERNEL: (_NUM_FEATURES, HIDDEN_SIZE),
    "mentornet/Variable_1": (HIDDEN_SIZE,),
    "mentornet/Variable_2": (HIDDEN_SIZE, 1),
    "mentornet/Variable_3": (1,),
}


@keras.saving.register_keras_serializable("mentornet")
class MentorNet(keras.Model):
    """logit = tanh([label, epoch, c_fw, c_bw] W1 + b1) (W2 + b2); weight = sigmoid(logit).

    `label` and `epoch` are embeddings; c_fw and c_bw are the *cell states* of a bidirectional LSTM
    with one unit in each direction after the single time step (loss, difference): sigmoid(i) *
    tanh(j). Two peculiarities are kept from the release: the cell state is used instead of the
    output, and the last bias is added to the weight matrix. All variables are float32, whatever the
    student's compute type. Source: paper, section 4.1 and figure 2.

    Args:
      num_labels: rows of the label embedding; labels are 0..num_labels-1.
      seed: of the initial parameters.
      features: names of the inputs; those after the release's four (`mentornet.features`) are
        passed to the hidden layer unchanged.

    Raises:
      InputError: `features` does not begin with the release's four.
    """

    def __init__(
        self,
        num_labels: int = 2,
        seed: int = 0,
        features: tuple[str, ...] = feature_names.RELEASE,
    ) -> None:
        super().__init__(dtype="float32", name="mentornet")
        self.num_labels = num_labels
        self.features = feature_names.check_names(features)
        self._by_name: dict[str, keras.Variable] = {}
        for number, (name, shape) in enumerate(VARIABLE_SHAPES.items()):
            full_shape = tuple(num_labels if size is None else size for size in shape)
            if name == HIDDEN_KERNEL:
                full_shape = (_NUM_FEATURES + len(self.further_features), HIDDEN_SIZE)
            initializer: initializers.Initializer = initializers.Zeros()
            if len(full_shape) == 2:
                initializer = initializers.GlorotUniform(seed=seed * 100 + number)
            self._by_name[name] = self.add_weight(
                shape=full_shape, initializer=initializer, name=name.replace("/", ".")
            )
        self.built = True

    @property
    def further_features(self) -> tuple[str, ...]:
        """The names of the inputs after the release's four."""
        return self.features[len(feature_names.RELEASE) :]

    def get_config(self) -> dict[str, Any]:
        return {"num_labels": self.num_labels, "features": list(self.features)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> MentorNet:
        del custom_objects
        return cls(config["num_labels"], features=tuple(config["features"]))

    @property
    def tf1_variables(self) -> dict[str, keras.Variable]:
        """TensorFlow 1 name -> variable."""
        return dict(self._by_name)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Computes logits.

        Args:
          inputs: [batch, features]: loss, loss minus moving average, label, epoch percentage
            (values above 99 count as 99), and further features if the MentorNet has them.

        Returns:
          float32 [batch, 1], logits of the sample weights.
        """
        inputs = tf.cast(inputs, tf.float32)
        labels = tf.cast(inputs[:, 2], tf.int32)
        epochs = tf.clip_by_value(tf.cast(inputs[:, 3], tf.int32), 0, LAST_EPOCH)
        variables = {name.removeprefix("mentornet/"): v.value for name, v in self._by_name.items()}
        features = tf.concat(
            [
                tf.gather(variables["label_embedding"], labels),
                tf.gather(variables["epoch_embedding"], epochs),
                *(_cell_state(inputs[:, :2], variables, way) for way in ("fw", "bw")),
                inputs[:, len(feature_names.RELEASE) :],
            ],
            axis=1,
        )
        hidden = tf.tanh(features @ variables["Variable"] + variables["Variable_1"])
        return hidden @ (variables["Variable_2"] + variables["Variable_3"])

    def sample_weights(self, inputs: tf.Tensor) -> tf.Tensor:
        """Sigmoid of the logits of `inputs`, float32 [batch, 1] in 0..1."""
        return tf.sigmoid(self(inputs))


def _cell_state(inputs: tf.Tensor, variables: dict[str, tf.Tensor], way: str) -> tf.Tensor:
    """sigmoid(i) * tanh(j) of one time step from a zero state, [batch, 1].

    The kernel's rows are loss, difference and the previous output (0 here); its columns the gates
    i, j, f, o, of which the first step's cell state needs two.
    """
    scope = f"bidirectional_rnn/{way}/basic_lstm_cell"
    kernel, bias = variables[f"{scope}/kernel"], variables[f"{scope}/bias"]
    gates = inputs @ kernel[:2, :2] + bias[:2]
    return tf.sigmoid(gates[:, :1]) * tf.tanh(gates[:, 1:])
