//! Receives spans over OTLP, gRPC or HTTP, and writes each as a line of JSON. For `cargo xtask mesh up`, where a
//! collector would stand in earnest.
//!
//! It ends at SIGTERM or SIGINT, after what it has received is written.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use pointsman_testkit::OtlpReceiver;
use pointsman_testkit::otlp::Span;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
struct Arguments {
    /// Where it listens.
    #[arg(long)]
    listen: SocketAddr,
    /// The file to write; what it holds is lost.
    #[arg(long)]
    file: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let file = File::create(&arguments.file).with_context(|| format!("making {}", arguments.file.display()))?;
    let mut file = BufWriter::new(file);
    let receiver = OtlpReceiver::start_on(arguments.listen).await?;
    loop {
        let ends = tokio::select! {
            () = receiver.arrived() => false,
            _ = terminate.recv() => true,
            _ = interrupt.recv() => true,
        };
        write(&mut file, &receiver.take()).with_context(|| format!("writing {}", arguments.file.display()))?;
        if ends {
            return Ok(());
        }
    }
}

fn write(file: &mut impl Write, spans: &[Span]) -> std::io::Result<()> {
    for span in spans {
        writeln!(file, "{}", span.to_json())?;
    }
    file.flush()
}
