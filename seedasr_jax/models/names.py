"""Names of the parts that we ship, as `init`, `trains`, checkpoints and bundles spell them."""

ENCODER = "encoder"
CTC_HEAD = "ctc_head"
CONVERTER = "converter"
DECODER = "decoder"
LORA = "lora"  # every adapter, wherever it stands inside the decoder
SSL_HEAD = "ssl_head"
QUANTIZER = "quantizer"
TEACHER = "teacher"
CODEBOOK = "codebook"
PROBE = "probe"
