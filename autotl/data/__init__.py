"""The data room: from a folder, CSV or zip of labelled images to a checked manifest and memory-mapped pixels."""
