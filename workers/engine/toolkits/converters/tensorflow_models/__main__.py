"""`KIND SOURCE FOLDER`: see `answering` for what is left in the folder."""

import sys
from pathlib import Path

from workers.engine.toolkits.converters.answering import answer
from workers.engine.toolkits.converters.tensorflow_models.keras_files import read_hdf5, read_keras
from workers.engine.toolkits.converters.tensorflow_models.saved_models import read_saved_model
from workers.engine.toolkits.converters.tensorflow_models.tflite_files import read_tflite

READERS = {"keras": read_keras, "hdf5": read_hdf5, "saved-model": read_saved_model, "tflite": read_tflite}

kind, source, folder = sys.argv[1:]
answer(lambda: READERS[kind](Path(source)), Path(folder), "tf2onnx")
