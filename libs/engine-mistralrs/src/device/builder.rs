//! The builders of mistral.rs, set up in one way.

use mistralrs::{
    DeviceMapSetting, EmbeddingModelBuilder, GgufModelBuilder, ModelDType, MultimodalModelBuilder,
    PagedAttentionConfig, TextModelBuilder,
};

/// A builder of mistral.rs, as far as it can be set up. GGUF files say themselves what they are in, and embedding
/// models keep nothing: what a builder lacks is left as it is.
pub(crate) trait Builder: Sized {
    fn dtype(self, dtype: ModelDType) -> Self;
    fn device_mapping(self, mapping: DeviceMapSetting) -> Self;
    fn force_cpu(self) -> Self;
    fn prefix_cache(self, count: Option<usize>) -> Self;
    fn paged_attention(self, config: PagedAttentionConfig) -> Self;
}

macro_rules! builder {
    ($type:ty, $($own:ident($value:ty) => $theirs:ident),*; $($lacks:ident($unused:ty)),*) => {
        impl Builder for $type {
            fn force_cpu(self) -> Self {
                self.with_force_cpu()
            }

            fn device_mapping(self, mapping: DeviceMapSetting) -> Self {
                self.with_device_mapping(mapping)
            }

            $(fn $own(self, value: $value) -> Self {
                self.$theirs(value)
            })*

            $(fn $lacks(self, _: $unused) -> Self {
                self
            })*
        }
    };
}

builder!(
    TextModelBuilder,
    dtype(ModelDType) => with_dtype,
    prefix_cache(Option<usize>) => with_prefix_cache_n,
    paged_attention(PagedAttentionConfig) => with_paged_attn;
);
builder!(
    MultimodalModelBuilder,
    dtype(ModelDType) => with_dtype,
    prefix_cache(Option<usize>) => with_prefix_cache_n,
    paged_attention(PagedAttentionConfig) => with_paged_attn;
);
builder!(
    GgufModelBuilder,
    prefix_cache(Option<usize>) => with_prefix_cache_n,
    paged_attention(PagedAttentionConfig) => with_paged_attn;
    dtype(ModelDType)
);
builder!(
    EmbeddingModelBuilder,
    dtype(ModelDType) => with_dtype;
    prefix_cache(Option<usize>),
    paged_attention(PagedAttentionConfig)
);
