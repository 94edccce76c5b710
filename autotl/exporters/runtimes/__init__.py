"""How each format is run: modules that need nothing of autotl, since their text also goes into `predict.py`.

Each has `load(folder)`, which gives a function from images, uint8 `[b, S, S, 3]`, to probabilities, float32 `[b, C]`.
"""
