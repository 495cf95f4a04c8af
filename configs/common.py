"""Fields that every config has, with the values that most keep."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The paper's network and augmentation, without a dataset or a length of training."""
    config = ConfigDict()
    config.seed = 0

    config.model = ConfigDict()
    config.model.variant = "rf101"  # rf50 rf101 rf152 rf_lw50 rf_lw101 rf_lw152 rf_lw_mbv2
    config.model.batch_norm = "frozen"  # frozen | local | synchronised
    config.model.dropout = 0.5  # in the cascade of a ResNet; that of rf_lw_mbv2 has none
    config.model.dtype = "float32"  # of the computation: float32 | bfloat16
    config.model.remat = False  # compute the trunk's blocks and a ResNet's cascade twice to save memory
    config.model.precision = "default"  # of float32 products on a GPU or TPU: default | high | highest (full float32)
    config.model.input_scale = 1.0  # pictures are enlarged by this in front of the network

    config.init_from = ""  # folder of a run, or a file of published weights; empty for random weights

    config.data = ConfigDict()
    config.data.name = ""  # dataset/config, built before with `tfds build`, or ./folder of pictures and masks
    config.data.mix = ()  # ((name, weight), ...) to train on instead; scored is config.data.name
    config.data.dir = ""  # where it was built; empty for TFDS_DATA_DIR or ~/tensorflow_datasets
    config.data.train_split = "train"
    config.data.eval_split = "validation"  # scored during training
    config.data.max_faults = 0  # examples that may be unreadable; they are skipped, logged and counted
    config.data.num_workers = 0  # processes that decode and augment; 0 for threads

    config.augment = ConfigDict()
    config.augment.crop_size = 400
    config.augment.short_edge = (450, 1100)  # bounds in pixels, in front of the random scale; () for none
    config.augment.scales = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)
    config.augment.flip = True
    config.augment.crop = "class_centred"  # class_centred | random
    config.augment.colour_jitter = 0.0
    config.augment.blur = 0.0
    config.augment.longest_side = 0  # in pixels, in front of the random scale, with short_edge=(); 0 for none
    config.augment.color_cast = 0.0
    config.augment.motion_blur = 0.0
    config.augment.jpeg = 0.0
    config.augment.uneven_light = 0.0

    config.paste = ConfigDict()  # objects cut out of examples and pasted on others, see data/paste.py
    config.paste.sources = ()  # ((name, weight), ...) as data.mix; empty for no pasting
    config.paste.probability = 0.5
    config.paste.count = 3
    config.paste.size = (24, 200)  # pixels of the crop
    config.paste.rotation = 180.0
    config.paste.light = 0.3
    config.paste.arm = 0.0  # of hands

    config.loss = ConfigDict()
    config.loss.weights = ConfigDict({"cross_entropy": 1.0, "dice": 0.0, "focal": 0.0, "lovasz": 0.0})
    config.loss.class_weights = ()  # a number for each class, of cross_entropy and focal
    config.loss.label_smoothing = 0.0
    config.loss.hard_fraction = 1.0  # of each image's pixels, the hardest, in cross_entropy
    config.loss.focal_gamma = 2.0
    config.loss_resolution = "logits"  # logits (1/4 of the input, nearest labels) | labels

    config.batch_size = 1  # over all devices
    config.accumulate = 1  # microbatches per device (gradient accumulation steps), to save memory
    config.num_steps = 0
    config.parallel = "pmap"  # pmap | shard_map
    config.deterministic = False  # the same bits in every run on a GPU, at a cost in speed; a CPU gives them anyway

    config.optimizer = ConfigDict()
    config.optimizer.name = "sgd"  # sgd | adamw
    config.optimizer.momentum = 0.9  # of sgd
    config.optimizer.betas = (0.9, 0.999)  # of adamw
    config.optimizer.epsilon = 1e-8  # of adamw
    config.optimizer.clip_norm = 0.0  # largest norm of the whole gradient; 0 for no clipping
    config.optimizer.weight_decay = 5e-4
    config.optimizer.decay_all = True  # False leaves out biases and batch-norm scales
    config.optimizer.factors = ConfigDict({"trunk": 1.0, "cascade": 1.0, "classifier": 1.0})  # on the learning rate

    config.schedule = ConfigDict()
    config.schedule.name = "constant"  # constant | poly | step | cosine | plateau
    config.schedule.learning_rate = 5e-5
    config.schedule.warmup_steps = 0
    config.schedule.power = 0.9  # of poly
    config.schedule.decay_steps = ()  # of step
    config.schedule.decay_rate = 0.1  # of step and plateau
    config.schedule.patience = 5  # of plateau: evaluations without a better mean IoU before the rate falls

    config.ema_decay = 0.0  # of averaged weights and moments, which are then evaluated and saved; 0 for none
    config.early_stopping = 0  # evaluations without a better mean IoU before the run ends; 0 for never
    config.max_skipped_steps = 10  # whose loss or gradient is not finite, before the run stops
    config.overfit_batches = 0  # train on the first so many batches again and again, to see whether it can learn
    config.profile_steps = ()  # (first, last) to trace into WORKDIR/profile, for TensorBoard

    config.log_every = 50
    config.eval_every = 1000
    config.checkpoint_every = 1000
    config.keep_checkpoints = 2  # the latest; the best is kept beside them

    config.evaluate = ConfigDict()
    config.evaluate.split = "test"  # of --job=evaluate; training scores data.eval_split
    config.evaluate.scales = (0.6, 0.8, 1.0)
    config.evaluate.longest_side = 0  # that pictures are brought to before the scales; 0 leaves them as they are
    config.evaluate.flip = False
    config.evaluate.batch_size = 0  # images at a time; 0 for one on each CPU device, eight on each GPU or TPU
    config.evaluate.crf = ""  # dense CRF: "default" or "bilateral_weight=5,iterations=4"; empty for none
    config.evaluate.protocols = ("strict", "seed")  # of --job=evaluate: strict | cvpr18 (a second pass) | seed
    return config
