use super::{BUILD, Build, Device, DeviceMap, Dtype, Hardware, KvMemory, PagedAttention, PagedMode};

fn read(yaml_as_json: &str) -> Result<Hardware, String> {
    serde_json::from_str(yaml_as_json).map_err(|error| error.to_string())
}

#[test]
fn values_are_read_and_written_alike() {
    let text = r#"{"device":"cuda:0","dtype":"bf16","paged_attention":{"mode":"on","block_size":16,"memory":"65536 tokens"},"prefix_cache":4,"device_map":"0:20;1:12"}"#;
    let hardware = read(text).unwrap();
    let want = Hardware {
        device: Device::Cuda(0),
        dtype: Dtype::Bf16,
        paged_attention: PagedAttention { mode: PagedMode::On, block_size: Some(16), memory: KvMemory::Tokens(65_536) },
        prefix_cache: Some(4),
        device_map: DeviceMap::Layers(vec![(0, 20), (1, 12)]),
    };
    assert_eq!(hardware, want);
    assert_eq!(serde_json::to_string(&hardware).unwrap(), text);
    for memory in ["80%", "8GiB", "4096 tokens"] {
        assert_eq!(memory.parse::<KvMemory>().unwrap().to_string(), memory);
    }
    for (text, says) in [
        (r#"{"device":"gpu"}"#, "`gpu` is no device"),
        (r#"{"device":"cuda:"}"#, "no device"),
        (r#"{"device_map":"0:0"}"#, "no device map"),
        (r#"{"device_map":"0=3"}"#, "no device map"),
        (r#"{"paged_attention":{"memory":"0%"}}"#, "no memory"),
        (r#"{"paged_attention":{"memory":"101%"}}"#, "no memory"),
        (r#"{"paged_attention":{"memory":"5KiB"}}"#, "no memory"),
        (r#"{"paged_attention":{"memory":"0 tokens"}}"#, "no memory"),
        (r#"{"devices":"cpu"}"#, "unknown field"),
    ] {
        assert!(read(text).unwrap_err().contains(says), "{text}: {:?}", read(text));
    }
}

#[test]
fn what_a_build_lacks_is_refused_with_what_to_do() {
    for (device, build, says) in [
        ("auto", Build::Cpu, None),
        ("cpu", Build::Cuda, None),
        ("cuda:0", Build::Cuda, None),
        ("metal", Build::Metal, None),
        ("cuda:0", Build::Cpu, Some("--features cuda`")),
        ("cuda:1", Build::Cuda, Some("CUDA_VISIBLE_DEVICES=1")),
        ("cuda:0", Build::Metal, Some("`--features cuda` alone")),
        ("metal", Build::Cpu, Some("--features metal`")),
        ("metal", Build::Cuda, Some("--features metal`")),
    ] {
        let problems = Hardware { device: device.parse().unwrap(), ..Hardware::default() }.problems_of(build);
        match says {
            None => assert!(problems.is_empty(), "{device} {build:?}: {problems:?}"),
            Some(says) => assert!(
                matches!(&problems[..], [one] if one.starts_with("hardware.device: ") && one.contains(says)),
                "{device} {build:?}: {problems:?}"
            ),
        }
    }
}

#[test]
fn what_a_device_cannot_do_is_refused_all_at_once() {
    let paged_attention = PagedAttention { mode: PagedMode::On, block_size: Some(7), ..PagedAttention::default() };
    let device_map = "1:3".parse().unwrap();
    let much =
        Hardware { dtype: Dtype::F16, paged_attention, prefix_cache: Some(1), device_map, ..Hardware::default() };
    let keys = |build| -> Vec<String> {
        let problems = much.problems_of(build);
        problems.iter().map(|problem| problem.split(": ").next().unwrap().replace("hardware.", "")).collect()
    };
    let all = ["dtype", "paged_attention.mode", "paged_attention.block_size", "prefix_cache", "device_map"];
    assert_eq!(keys(Build::Cpu), all);
    assert_eq!(keys(Build::Cuda), ["paged_attention.block_size", "device_map"]);
    let on_cpu = Hardware { device: Device::Cpu, ..much.clone() };
    assert_eq!(on_cpu.problems_of(Build::Cuda).len(), all.len());
    let twice = Hardware { device_map: "0:1;0:2".parse().unwrap(), ..Hardware::default() };
    assert_eq!(twice.problems_of(Build::Cuda).len(), 1);
    let spread = Hardware { device_map: "0:20;1:12".parse().unwrap(), ..Hardware::default() };
    assert!(spread.problems_of(Build::Cuda).is_empty());
}

#[test]
fn the_fingerprint_says_what_the_texts_depend_on() {
    if BUILD == Build::Cpu {
        assert_eq!(
            (Hardware::default().kind(), Hardware::default().model_dtype().to_string()),
            ("cpu", "f32".to_owned())
        );
    }
    let cpu = Hardware { device: Device::Cpu, dtype: Dtype::F32, ..Hardware::default() };
    assert_eq!((cpu.kind(), cpu.model_dtype().to_string()), ("cpu", "f32".to_owned()));
}
