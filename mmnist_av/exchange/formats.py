"""The forms of an export, by name. Each form writes and reads the clips of a split without loss."""

from mmnist_av.exchange.parquet import HUGGING_FACE
from mmnist_av.exchange.separate_files import CLIPS, CLIPS_PNG
from mmnist_av.exchange.tars import WEBDATASET

FORMS = {"clips": CLIPS, "clips-png": CLIPS_PNG, "webdataset": WEBDATASET, "hf": HUGGING_FACE}
