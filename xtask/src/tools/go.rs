//! Go, with gRPC for it, from Debian's packages: what the example in Go is built with, without Go's module proxy.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::{Tool, debian};
use crate::shell;

/// The packages.
const PACKAGES: [&str; 5] = [
    "golang-go",
    "golang-google-grpc-dev",
    // One of two that the above takes; the other knows no messages that today's generator makes.
    "golang-github-golang-protobuf-1-5-dev",
    "protoc-gen-go",
    "protoc-gen-go-grpc",
];
/// Where Debian keeps the sources of Go's packages, as a `GOPATH`.
const SOURCES: &str = "/usr/share/gocode";
/// What the example uses of gRPC, which brings the rest along.
const USED: [&str; 3] = [
    "google.golang.org/grpc",
    "google.golang.org/grpc/credentials/local",
    "google.golang.org/genproto/googleapis/rpc/errdetails",
];

/// Returns a build cache that has gRPC, compiled once: that takes a minute, and the example itself a second.
pub fn cache_for_tests() -> Result<PathBuf> {
    if !is_installed() {
        debian::install(&PACKAGES)?;
    }
    let version = shell::output(Command::new("go").arg("version"))?;
    Tool::new("go", format!("{version}\n{}", USED.join("\n"))).made(|folder| {
        let mut build = Command::new("go");
        build.env("GOCACHE", folder).env("GOPATH", SOURCES).env("GO111MODULE", "off").env("CGO_ENABLED", "0");
        shell::run(build.arg("build").args(USED))
    })
}

fn is_installed() -> bool {
    let programs = [
        ("go", "version"),
        ("protoc", "--version"),
        ("protoc-gen-go", "--version"),
        ("protoc-gen-go-grpc", "--version"),
    ];
    // The second is there in the right one of the two packages only.
    let files = ["google.golang.org/grpc/clientconn.go", "github.com/golang/protobuf/proto/registry.go"];
    programs.iter().all(|(program, option)| shell::succeeds(Command::new(program).arg(option)))
        && files.iter().all(|file| Path::new(SOURCES).join("src").join(file).is_file())
}
