"""The web service: pictures in, captions out, over a model in this process or one in TensorFlow Serving.

memefly serve --model ROOT/serving/captioner --port 8000
memefly serve --tf-serving http://localhost:8501 --port 8000
"""
