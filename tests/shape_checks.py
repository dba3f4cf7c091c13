"""The run-time checker of annotations: beartype, an int being a fine float."""

from beartype import BeartypeConf, beartype

checker = beartype(conf=BeartypeConf(is_pep484_tower=True))
