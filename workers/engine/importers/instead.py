"""What to do instead with a file that is not read: the commands that make one which is."""

FROM_TORCH = (
    "PyTorch: torch.onnx.export(model.eval(), (example,), 'model.onnx', dynamo=True, external_data=False), where the "
    "model was trained."
)
FROM_TRANSFORMERS = "transformers: model.save_pretrained('folder', safe_serialization=True), and zip that folder."
FROM_TIMM = (
    "timm: safetensors.torch.save_model(model, 'model.safetensors'), and zip it with a config.json that says "
    '{"architecture": "resnet18", "num_classes": 10}.'
)
FROM_SAFETENSORS = f"{FROM_TRANSFORMERS} {FROM_TIMM} {FROM_TORCH}"
FROM_KERAS = "Export it in Keras: model.export('model.onnx', format='onnx')."
FROM_TFLITE = "Convert it: python -m tf2onnx.convert --tflite model.tflite --opset 18 --output model.onnx."
FROM_SAVED_MODEL = "Convert it: python -m tf2onnx.convert --saved-model FOLDER --opset 18 --output model.onnx."
FROM_GRAPH = (
    "Convert it: python -m tf2onnx.convert --graphdef model.pb --inputs x:0 --outputs y:0 --opset 18 "
    "--output model.onnx."
)
FROM_CHECKPOINT = (
    "Convert it: python -m tf2onnx.convert --checkpoint model.meta --inputs x:0 --outputs y:0 --opset 18 "
    "--output model.onnx."
)
FROM_TENSORFLOW_JS = (
    "Convert it: tensorflowjs_converter --input_format=tfjs_layers_model --output_format=keras_keras model.json "
    "model.keras, and upload that."
)
FROM_SKLEARN = "scikit-learn: skops.io.dump(model, 'model.skops'), and upload that file."
FROM_PADDLE = (
    "Convert it: paddle2onnx --model_dir FOLDER --model_filename inference.pdmodel --params_filename "
    "inference.pdiparams --opset_version 17 --save_file model.onnx."
)
FROM_MXNET = (
    "Convert it: mxnet.onnx.export_model('model-symbol.json', 'model-0000.params', [(1, 3, 224, 224)], "
    "[numpy.float32], 'model.onnx')."
)
FROM_CATBOOST = "Save it again: model.save_model('model.onnx', format='onnx')."
FROM_COREML = (
    "Export the model that it was converted from. Old networks and trees: onnxmltools.convert_coreml("
    "coremltools.utils.load_spec('model.mlmodel')).SerializeToString()."
)
FROM_CAFFE = "Convert it to a SavedModel or to ONNX with the tools of its framework, or export the model anew."
FROM_JAX = (
    "Make a SavedModel: jax.experimental.jax2tf.convert(function), saved with tf.saved_model.save, and zip its folder."
)
ITS_SOURCE = "Upload the ONNX file that it was made from."
