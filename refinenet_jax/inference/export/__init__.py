"""`refinenet-jax export`: writes a network as one file for other runtimes and compares it with the network.

Each format is a module with

    SUFFIX: ending of the file, '' for a folder.
    PRECISION: precision of matrix products with which the network is exported; None for the network's own.
    BATCH: batch size, 'free' or '1'.
    write(path, network, about, calibration): writes `network` (with less than 2 GB of weights) and the metadata `about`,
      JSON. If there are calibration pictures, uint8 [h, w, 3] of the network's size, it is quantized to int8 with activation
      ranges from them; formats without int8 ignore them.
    load(path): returns the metadata and a function uint8 [b, h, w, 3] -> mask uint8 [b, h, w], scores float32 [b, h, w, c],
      which runs on the CPU.
"""
