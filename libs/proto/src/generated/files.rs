&[
    ("pointsman/inference/v1/count_tokens.proto", include_str!("../../../../proto/pointsman/inference/v1/count_tokens.proto")),
    ("pointsman/inference/v1/describe.proto", include_str!("../../../../proto/pointsman/inference/v1/describe.proto")),
    ("pointsman/inference/v1/embed.proto", include_str!("../../../../proto/pointsman/inference/v1/embed.proto")),
    ("pointsman/inference/v1/frame.proto", include_str!("../../../../proto/pointsman/inference/v1/frame.proto")),
    ("pointsman/inference/v1/generate.proto", include_str!("../../../../proto/pointsman/inference/v1/generate.proto")),
    ("pointsman/inference/v1/inference_service.proto", include_str!("../../../../proto/pointsman/inference/v1/inference_service.proto")),
    ("pointsman/inference/v1/mesh_context.proto", include_str!("../../../../proto/pointsman/inference/v1/mesh_context.proto")),
    ("pointsman/inference/v1/message.proto", include_str!("../../../../proto/pointsman/inference/v1/message.proto")),
    ("pointsman/inference/v1/service_config.json", include_str!("../../../../proto/pointsman/inference/v1/service_config.json")),
    ("pointsman/ledger/v1/usage.proto", include_str!("../../../../proto/pointsman/ledger/v1/usage.proto")),
    ("pointsman/operations/v1/operations_service.proto", include_str!("../../../../proto/pointsman/operations/v1/operations_service.proto")),
    ("pointsman/policy/v1/policy.proto", include_str!("../../../../proto/pointsman/policy/v1/policy.proto")),
]
