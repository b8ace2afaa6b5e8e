"""Names of the built-in parts in `init`, `trains`, checkpoints and bundles."""

ENCODER = "encoder"
CTC_HEAD = "ctc_head"
CONVERTER = "converter"
DECODER = "decoder"
LORA = "lora"  # all adapters inside the decoder
SSL_HEAD = "ssl_head"
QUANTIZER = "quantizer"
TEACHER = "teacher"
CODEBOOK = "codebook"
PROBE = "probe"
