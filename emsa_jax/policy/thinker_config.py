"""A policy's static configuration: text model, audio tower, vision tower. Field names follow `transformers`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from emsa_jax.errors import InputError


@dataclass(frozen=True)
class TextConfig:
    """The decoder: grouped-query attention with TMRoPE, SwiGLU, RMSNorm. Qwen2 (Omni's too), Llama and Qwen3 are the
    same but for two details, and plain RoPE is TMRoPE with three equal positions.

    Attributes:
      head_dim: of one head; 0: hidden_size / num_attention_heads.
      qkv_bias: whether the projections of queries, keys and values have biases (Qwen2).
      qk_norm: whether each head of queries and keys is normalised before it is rotated (Qwen3).
      attention: the kernel by name, see policy/attention.py; chosen for a machine, stored in no policy directory.
    """

    vocab_size: int = 152064
    hidden_size: int = 3584
    intermediate_size: int = 18944
    num_hidden_layers: int = 28
    num_attention_heads: int = 28
    num_key_value_heads: int = 4
    rms_norm_eps: float = 1e-6
    rope_theta: float = 1e6
    mrope_section: tuple[int, ...] = (16, 24, 24)
    max_position_embeddings: int = 32768
    head_dim: int = 0
    qkv_bias: bool = True
    qk_norm: bool = False
    attention: str = "auto"

    def __post_init__(self) -> None:
        if not self.head_dim:
            object.__setattr__(self, "head_dim", self.hidden_size // self.num_attention_heads)

    @property
    def heads_dim(self) -> int:
        """Width of the queries of all heads together."""
        return self.num_attention_heads * self.head_dim


@dataclass(frozen=True)
class AudioConfig:
    """The audio tower: two convolutions, then a pre-LN transformer over chunks of 2 * n_window mel frames."""

    num_mel_bins: int = 128
    d_model: int = 1280
    encoder_layers: int = 32
    encoder_attention_heads: int = 20
    encoder_ffn_dim: int = 5120
    n_window: int = 100
    max_source_positions: int = 1500
    output_dim: int = 3584


@dataclass(frozen=True)
class VisionConfig:
    """The vision tower: 14 x 14 x 2 patches, windowed and per-frame attention, 2 x 2 merger."""

    depth: int = 32
    hidden_size: int = 1280
    intermediate_size: int = 3420
    num_heads: int = 16
    in_channels: int = 3
    patch_size: int = 14
    temporal_patch_size: int = 2
    spatial_merge_size: int = 2
    window_size: int = 112
    fullatt_block_indexes: tuple[int, ...] = (7, 15, 23, 31)
    out_hidden_size: int = 3584
    rope_theta: float = 10000.0

    @property
    def patch_dim(self) -> int:
        return self.in_channels * self.temporal_patch_size * self.patch_size**2

    @property
    def unit(self) -> int:
        """Patches that stand together in a row: those of a merge block."""
        return self.spatial_merge_size**2

    def grid(self, frames: int, height: int, width: int) -> tuple[int, int, int]:
        """Temporal patches, rows and columns of a video of that many pixels."""
        return -(-frames // self.temporal_patch_size), height // self.patch_size, width // self.patch_size


@dataclass(frozen=True)
class ClipConfig:
    """CLIP's vision transformer with a linear projector; every frame is one square picture for itself.

    Attributes:
      tokens: what of a frame goes to the text model: "cls", the class token alone, or "patches", all but it.
    """

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    num_channels: int = 3
    image_size: int = 224
    patch_size: int = 14
    layer_norm_eps: float = 1e-5
    tokens: str = "cls"
    out_hidden_size: int = 3584

    @property
    def num_heads(self) -> int:
        return self.num_attention_heads

    @property
    def side(self) -> int:
        """Rows, and columns, of a frame's patches."""
        return self.image_size // self.patch_size

    @property
    def patches(self) -> int:
        return self.side**2

    @property
    def patch_dim(self) -> int:
        return self.num_channels * self.patch_size**2

    @property
    def temporal_patch_size(self) -> int:
        return 1

    @property
    def spatial_merge_size(self) -> int:
        """Rows, and columns, of the patches that one token stands for."""
        return self.side if self.tokens == "cls" else 1

    @property
    def unit(self) -> int:
        """Patches that stand together in a row: those of a frame."""
        return self.patches

    def grid(self, frames: int, height: int, width: int) -> tuple[int, int, int]:  # noqa: ARG002 (as VisionConfig's)
        """Frames, rows and columns of a video, whose frames are brought to the one size."""
        return frames, self.side, self.side


@dataclass(frozen=True)
class ClipTextConfig:
    """CLIP's text encoder, with the projection into the space that it shares with pictures."""

    vocab_size: int = 49408
    hidden_size: int = 512
    intermediate_size: int = 2048
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    max_position_embeddings: int = 77
    layer_norm_eps: float = 1e-5
    eos_token_id: int = 49407
    projection_dim: int = 512

    @property
    def num_heads(self) -> int:
        return self.num_attention_heads


@dataclass(frozen=True)
class BertConfig:
    """BERT, an encoder of texts. Both rates of dropout count in training alone, as does that the embedding of
    pad_token_id is never trained."""

    vocab_size: int = 30522
    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    pad_token_id: int = 0
    layer_norm_eps: float = 1e-12
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1


@dataclass(frozen=True)
class HubertConfig:
    """HuBERT, an encoder of speech.

    Attributes:
      feat_extract_norm: "group", a norm behind the first convolution alone, or "layer", one behind each.
      do_stable_layer_norm: whether the norms of the layers stand before the sums (large sizes).
    """

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    layer_norm_eps: float = 1e-5
    conv_dim: tuple[int, ...] = (512,) * 7
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_bias: bool = False
    feat_extract_norm: str = "group"
    do_stable_layer_norm: bool = False
    num_conv_pos_embeddings: int = 128
    num_conv_pos_embedding_groups: int = 16


@dataclass(frozen=True)
class BridgeConfig:
    """A bridge, as wide as its encoder.

    Attributes:
      positions: frames that have a learned position (VECB); 0: the bridge adds no positions (AECB).
      output_size: of the space in which clips and captions are compared.
      text_size: of a caption's vector before its linear.
    """

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_attention_heads: int = 16
    num_hidden_layers: int = 2
    layer_norm_eps: float = 1e-5
    positions: int = 16
    output_size: int = 768
    text_size: int = 768

    @classmethod
    def after(cls, encoder: ClipConfig | HubertConfig | AudioConfig, **fields: int) -> BridgeConfig:
        """The bridge behind an encoder, with layers of its sizes; fields: others of this class."""
        if isinstance(encoder, AudioConfig):
            sizes = (encoder.d_model, encoder.encoder_ffn_dim, encoder.encoder_attention_heads)
            return cls(*sizes, **{"positions": 0} | fields)
        names = ("hidden_size", "intermediate_size", "num_attention_heads", "layer_norm_eps")
        fields = {"positions": 16 if isinstance(encoder, ClipConfig) else 0} | fields
        return cls(**{name: getattr(encoder, name) for name in names}, **fields)

    @property
    def sees(self) -> bool:
        """Whether this is VECB."""
        return self.positions > 0


@dataclass(frozen=True)
class ThinkerConfig:
    """Everything static about a policy; hashable, so it is a jit-static argument.

    A policy may have no audio or no vision tower (None); ids of tokens that it does not have are -1. A bridge stands
    between a tower and its projector: AECB behind sound, VECB behind CLIP's class tokens (XEmoGPT).
    """

    text: TextConfig = TextConfig()
    audio: AudioConfig | None = AudioConfig()
    vision: VisionConfig | ClipConfig | None = VisionConfig()
    audio_bridge: BridgeConfig | None = None
    vision_bridge: BridgeConfig | None = None
    tie_word_embeddings: bool = False
    audio_token_id: int = 151646
    image_token_id: int = 151655
    video_token_id: int = 151656
    audio_start_token_id: int = 151647
    audio_end_token_id: int = 151648
    vision_start_token_id: int = 151652
    vision_end_token_id: int = 151653
    bos_token_id: int = 151644
    eos_token_id: int = 151645  # ends an answer that is taught
    other_stop_ids: tuple[int, ...] = ()  # end an answer that is drawn, as eos_token_id does
    pad_token_id: int = 151643
    user_token_id: int = 872
    position_id_per_seconds: int = 25
    seconds_per_chunk: int = 2

    @property
    def text_alone(self) -> bool:
        """Whether the policy is a text model without towers, whose directory is that model's."""
        return self.audio is None and self.vision is None

    @property
    def bridged(self) -> bool:
        """Whether a bridge stands behind a tower."""
        return self.audio_bridge is not None or self.vision_bridge is not None

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Every token that ends an answer."""
        return (self.eos_token_id, *self.other_stop_ids)


def preset(name: str) -> ThinkerConfig:
    """The configuration of a released size: "3B" or "7B"."""
    seven = ThinkerConfig()
    if name == "7B":
        return seven
    if name == "3B":
        text = replace(
            seven.text,
            vocab_size=151936,
            hidden_size=2048,
            intermediate_size=11008,
            num_hidden_layers=36,
            num_attention_heads=16,
            num_key_value_heads=2,
        )
        return replace(
            seven,
            text=text,
            audio=replace(seven.audio, output_dim=2048),
            vision=replace(seven.vision, out_hidden_size=2048),
        )
    raise InputError(f"policy preset {name!r} is unknown: use 3B, 7B, tiny or a checkpoint directory")
