//! What has come of an answer before it failed.

use pointsman_errors::Error;
use pointsman_proto::inference::v1::frame::Body;
use pointsman_proto::inference::v1::{Frame, delta};
use pointsman_types::counted;

/// The pieces of an answer that were given on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delivered {
    pub(super) pieces: u64,
    pub(super) text_bytes: u64,
}

impl Delivered {
    pub(super) fn count(&mut self, frame: &Frame) {
        if let Some(Body::Delta(piece)) = &frame.body {
            self.pieces += 1;
            if let Some(delta::Content::Text(text)) = &piece.content {
                self.text_bytes += text.len() as u64;
            }
        }
    }

    /// Adds to an error what there was before it: pieces that the caller has got, or that are not sent.
    pub(super) fn said(self, error: Error, is_streamed: bool) -> Error {
        if self.pieces == 0 {
            return error;
        }
        let had_come = match (self.pieces, is_streamed) {
            (1, true) => "was delivered",
            (_, true) => "were delivered",
            (1, false) => "had come and is not sent",
            (_, false) => "had come and are not sent",
        };
        let (pieces, bytes) = (counted(self.pieces, "piece"), counted(self.text_bytes, "byte"));
        let got = format!("{pieces} with {bytes} of text {had_come}");
        let message = format!("{} ({got})", error.message());
        error.with_message(message)
    }
}
