"""Fields of all configs, with default values."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns a config with the paper's network and augmentation, but without a dataset and a number of steps."""
    config = ConfigDict()
    config.seed = 0

    config.model = ConfigDict()
    config.model.variant = "rf101"  # rf50 rf101 rf152 rf_lw50 rf_lw101 rf_lw152 rf_lw_mbv2
    config.model.batch_norm = "frozen"  # frozen | local | synchronized
    config.model.dropout = 0.5  # in the cascade of ResNets; not used by rf_lw_mbv2
    config.model.dtype = "float32"  # dtype of the computation: float32 | bfloat16
    config.model.remat = (
        False  # recompute the trunk's blocks and a ResNet's cascade in the backward pass to save memory
    )
    config.model.precision = "default"  # of float32 products on a GPU or TPU: default | high | highest (full float32)
    config.model.input_scale = 1.0  # factor by which pictures are enlarged before the network

    config.init_from = ""  # folder of a run, or a file of published weights; empty for random weights

    config.data = ConfigDict()
    config.data.name = ""  # dataset/config built with `tfds build`, or ./folder of pictures and masks
    config.data.mix = ()  # ((name, weight), ...) to train on instead; config.data.name is still evaluated
    config.data.dir = ""  # folder of built datasets; empty for TFDS_DATA_DIR or ~/tensorflow_datasets
    config.data.train_split = "train"
    config.data.eval_split = "validation"  # evaluated during training
    config.data.max_faults = 0  # number of examples that may be unreadable; they are skipped, logged and counted
    config.data.num_workers = 0  # processes that decode and augment; 0 for threads

    config.augment = ConfigDict()
    config.augment.crop_size = 400
    config.augment.short_edge = (450, 1100)  # bounds in pixels, before the random scale; () for none
    config.augment.scales = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)
    config.augment.flip = True
    config.augment.crop = "class_centered"  # class_centered | random
    config.augment.color_jitter = 0.0
    config.augment.blur = 0.0
    config.augment.longest_side = 0  # in pixels, before the random scale, with short_edge=(); 0 for none
    config.augment.color_cast = 0.0
    config.augment.motion_blur = 0.0
    config.augment.jpeg = 0.0
    config.augment.uneven_light = 0.0

    config.paste = ConfigDict()  # copy-paste augmentation, see data/paste.py
    config.paste.sources = ()  # ((name, weight), ...) as in data.mix; empty to disable pasting
    config.paste.probability = 0.5
    config.paste.count = 3
    config.paste.size = (24, 200)  # longest side of objects, in pixels of the crop
    config.paste.rotation = 180.0
    config.paste.light = 0.3
    config.paste.arm = 0.0  # probability of an arm, for hands

    config.loss = ConfigDict()
    config.loss.weights = ConfigDict({"cross_entropy": 1.0, "dice": 0.0, "focal": 0.0, "lovasz": 0.0})
    config.loss.class_weights = ()  # a weight for each class, in cross_entropy and focal
    config.loss.label_smoothing = 0.0
    config.loss.hard_fraction = 1.0  # share of each image's pixels, the hardest, in cross_entropy
    config.loss.focal_gamma = 2.0
    config.loss_resolution = "logits"  # logits (1/4 of the input, nearest labels) | labels

    config.batch_size = 1  # over all devices
    config.accumulate = 1  # microbatches per device (gradient accumulation steps), to save memory
    config.num_steps = 0
    config.parallel = "pmap"  # pmap | shard_map
    config.deterministic = False  # the same bits in every run on a GPU, at a cost in speed; a CPU gives them anyway

    config.optimizer = ConfigDict()
    config.optimizer.name = "sgd"  # sgd | adamw
    config.optimizer.momentum = 0.9  # sgd only
    config.optimizer.betas = (0.9, 0.999)  # adamw only
    config.optimizer.epsilon = 1e-8  # adamw only
    config.optimizer.clip_norm = 0.0  # largest norm of the gradient over all parameters; 0 disables clipping
    config.optimizer.weight_decay = 5e-4
    config.optimizer.decay_all = True  # False excludes biases and batch-norm scales
    config.optimizer.factors = ConfigDict({"trunk": 1.0, "cascade": 1.0, "classifier": 1.0})  # learning-rate factors

    config.schedule = ConfigDict()
    config.schedule.name = "constant"  # constant | poly | step | cosine | plateau
    config.schedule.learning_rate = 5e-5
    config.schedule.warmup_steps = 0
    config.schedule.power = 0.9  # poly only
    config.schedule.decay_steps = ()  # step only
    config.schedule.decay_rate = 0.1  # step and plateau
    config.schedule.patience = 5  # plateau: evaluations without a better mean IoU before the rate decays

    config.ema_decay = 0.0  # of averaged weights and moments, which are then evaluated and saved; 0 disables averaging
    config.early_stopping = 0  # evaluations without a better mean IoU before the run stops; 0 for never
    config.max_skipped_steps = 10  # steps with a loss or gradient that is not finite, before the run stops
    config.overfit_batches = 0  # repeat only this many first batches, to test whether the network can learn
    config.profile_steps = ()  # (first, last) step to trace into WORKDIR/profile, for TensorBoard

    config.log_every = 50
    config.eval_every = 1000
    config.checkpoint_every = 1000
    config.keep_checkpoints = 2  # number of latest checkpoints that are kept, in addition to the best

    config.evaluate = ConfigDict()
    config.evaluate.split = "test"  # for --job=evaluate; training evaluates data.eval_split
    config.evaluate.scales = (0.6, 0.8, 1.0)
    config.evaluate.longest_side = (
        0  # size in pixels to which pictures are resized before the scales; 0 keeps their size
    )
    config.evaluate.flip = False
    config.evaluate.batch_size = 0  # images at a time; 0 for one on each CPU device, eight on each GPU or TPU
    config.evaluate.crf = ""  # dense CRF: "default" or "bilateral_weight=5,iterations=4"; empty for none
    config.evaluate.protocols = ("strict", "seed")  # for --job=evaluate: strict | cvpr18 (a second pass) | seed
    return config
