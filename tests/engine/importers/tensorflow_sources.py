"""Makes the models that importers are tried on: in the Python of the toolkit `tensorflow`, in an empty folder."""

from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

IMAGE = (12, 12, 3)


def images() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input(IMAGE, name="image"),
            keras.layers.Conv2D(8, 3, activation="relu"),
            keras.layers.DepthwiseConv2D(3, padding="same"),
            keras.layers.BatchNormalization(),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(5, activation="softmax"),
        ]
    )


def words() -> keras.Model:
    """Two inputs, of which one is of any length, and two outputs."""
    tokens, extra = keras.Input((None,), name="tokens", dtype="int32"), keras.Input((3,), name="extra")
    read = keras.layers.LSTM(8)(keras.layers.Embedding(50, 8)(tokens))
    both = keras.layers.Concatenate()([read, extra])
    return keras.Model(
        [tokens, extra],
        [keras.layers.Dense(3, name="topic")(both), keras.layers.Dense(1, activation="sigmoid", name="spam")(both)],
    )


@keras.saving.register_keras_serializable("mine")
class Doubled(keras.layers.Layer):
    def call(self, x: tf.Tensor) -> tf.Tensor:
        return 2 * x


def with_layer(layer: keras.layers.Layer) -> keras.Model:
    return keras.Sequential([keras.Input((4,)), layer, keras.layers.Dense(2)])


def tflite(name: str, *, quantized: bool = False, integers: bool = False, custom: bool = False) -> None:
    converter = tf.lite.TFLiteConverter.from_saved_model(name)
    if quantized:
        draw = np.random.default_rng(0)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([draw.random((1, *IMAGE), np.float32)] for _ in range(20))
    if integers:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    converter.allow_custom_ops = custom
    kind = "custom" if custom else "integers" if integers else "quantized" if quantized else "float"
    Path(f"{kind}.tflite").write_bytes(converter.convert())


def plain(x: tf.Tensor) -> tf.Tensor:
    return tf.matmul(x, tf.random.stateless_normal((4, 2), (1, 2)))


def reading(x: tf.Tensor) -> tf.Tensor:
    return x + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)


def odd(x: tf.Tensor) -> tf.Tensor:
    return tf.math.bessel_i0(x)


def text(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.strings.length(x), tf.float32)


def save(function: Callable[[tf.Tensor], tf.Tensor], name: str, *, signed: bool = True) -> None:
    """As a SavedModel that is no Keras network."""
    given = tf.TensorSpec((None,), tf.string, name="x") if function is text else tf.TensorSpec((None, 4), name="x")
    module = tf.Module()
    module.served = tf.function(lambda x: {"y": function(x)}, input_signature=[given])
    tf.saved_model.save(module, name, signatures=module.served if signed else {})


def with_an_operator_of_its_own(folder: str) -> None:
    path = Path(folder) / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for function in saved.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            if node.op == "MatMul":
                node.op, node.name = "HomeMadeMatMul", "ours"
    path.write_bytes(saved.SerializeToString())


def main() -> None:
    keras.utils.set_random_seed(0)
    net = images()
    net.save("images.keras")
    net.save("images.h5")
    net.save_weights("only.weights.h5")
    net.export("images")
    words().save("words.keras")
    tflite("images")
    tflite("images", quantized=True)
    tflite("images", quantized=True, integers=True)
    for kind in ("keras", "h5"):
        with_layer(keras.layers.Lambda(lambda x: 2 * x)).save(f"lambda.{kind}")
    with_layer(Doubled()).save("own.keras")
    spoken = keras.layers.TextVectorization(vocabulary=["a", "b"], output_sequence_length=4)
    keras.Sequential([keras.Input((1,), dtype="string"), spoken, keras.layers.Embedding(9, 2)]).save("text.keras")
    for function in (plain, reading, odd, text):
        save(function, function.__name__)
    save(plain, "unsigned", signed=False)
    save(plain, "custom")
    with_an_operator_of_its_own("custom")
    tflite("odd", custom=True)
    with h5py.File("linked.h5", "w") as file:
        file["weights"] = h5py.ExternalLink("/etc/passwd", "/")


main()
