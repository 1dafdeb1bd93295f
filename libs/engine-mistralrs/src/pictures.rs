//! The pictures of a request: what they are is read before anything is decoded, and bounded.

use std::io::Cursor;

use bytes::Bytes;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use pointsman_engine::EngineError;
use pointsman_proto::inference::v1::{Image, image::Source};

use crate::request::{first_line, invalid};

/// The most pixels that all pictures of a request have together: 96 MiB when they are decoded.
const MOST_PIXELS: u64 = 32 << 20;
/// The most memory that a decoder may take to learn what a picture is, and to decode it: sixteen bits a channel, and
/// what it needs beside.
const MEMORY_TO_READ: u64 = 64 << 20;
const MEMORY_TO_DECODE: u64 = 512 << 20;
/// The longer edge of a picture that is to be seen in little detail, as OpenAI has it.
const LOW_DETAIL: u32 = 512;

/// Where a picture stands in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The contract's name of it.
    pub(crate) field: String,
    /// Which of the request's pictures it is, from 1: of other names of the field, not each has a place for it.
    pub(crate) number: usize,
}

impl Place {
    /// Refuses a request for this picture.
    pub(crate) fn refuse(&self, why: &str) -> EngineError {
        invalid(&self.field, &format!("picture {} {why}", self.number))
    }
}

/// A picture that was not decoded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Picture {
    pub(crate) place: Place,
    data: Bytes,
    format: ImageFormat,
    shrinks: bool,
    /// Its pixels, as the model gets it.
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Its pixels as it was sent.
    pixels: u64,
}

impl Picture {
    /// Reads what a picture is, and nothing of what is seen on it.
    pub(crate) fn read(image: &Image, place: Place) -> Result<Self, EngineError> {
        let data = match &image.source {
            Some(Source::Data(data)) => data.clone(),
            Some(Source::Uri(_)) | None => {
                let why =
                    "is at an address, and this worker reaches no network; send itself, as a data URI or as bytes";
                return Err(place.refuse(why));
            }
        };
        let taken = "must be a PNG, JPEG, WebP or GIF";
        let format = image::guess_format(&data).map_err(|_| place.refuse(taken))?;
        if !matches!(format, ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP | ImageFormat::Gif) {
            return Err(place.refuse(taken));
        }
        let shrinks = image.detail == "low";
        let mut picture = Self { place, data, format, shrinks, width: 0, height: 0, pixels: 0 };
        let mut decoder = picture.decoder(MEMORY_TO_READ)?;
        let (width, height) = decoder.dimensions();
        let turned = matches!(
            decoder.orientation().unwrap_or(Orientation::NoTransforms),
            Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH
        );
        drop(decoder);
        picture.pixels = u64::from(width) * u64::from(height);
        (picture.width, picture.height) = if turned { (height, width) } else { (width, height) };
        picture.shrink();
        Ok(picture)
    }

    fn shrink(&mut self) {
        let long = self.width.max(self.height);
        if self.shrinks && long > LOW_DETAIL {
            let edge = |edge: u32| {
                let edge = u64::from(edge) * u64::from(LOW_DETAIL) / u64::from(long);
                u32::try_from(edge).unwrap_or(LOW_DETAIL).max(1)
            };
            (self.width, self.height) = (edge(self.width), edge(self.height));
        }
    }

    /// Takes long. The first of several pictures is taken where they move.
    pub(crate) fn decode(&self) -> Result<DynamicImage, EngineError> {
        let mut decoder = self.decoder(MEMORY_TO_DECODE)?;
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let decoded = DynamicImage::from_decoder(decoder).map_err(|error| self.broken(&error))?;
        let mut image = DynamicImage::ImageRgb8(decoded.into_rgb8());
        image.apply_orientation(orientation);
        if (image.width(), image.height()) != (self.width, self.height) {
            image = image.thumbnail_exact(self.width, self.height);
        }
        Ok(image)
    }

    fn decoder(&self, memory: u64) -> Result<impl ImageDecoder + '_, EngineError> {
        let mut reader = ImageReader::with_format(Cursor::new(&self.data), self.format);
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(memory);
        reader.limits(limits);
        reader.into_decoder().map_err(|error| self.broken(&error))
    }

    fn broken(&self, error: &image::ImageError) -> EngineError {
        self.place.refuse(&format!("cannot be read: {}", first_line(error)))
    }
}

/// Refuses pictures that have too many pixels together.
pub(crate) fn check_sizes(pictures: &[Picture]) -> Result<(), EngineError> {
    let mut pixels = 0_u64;
    for picture in pictures {
        pixels = pixels.saturating_add(picture.pixels);
        if pixels > MOST_PIXELS {
            let most = MOST_PIXELS >> 20;
            let why = format!("and those before it have more than {most} Mi pixels; send smaller or fewer ones");
            return Err(picture.place.refuse(&why));
        }
    }
    Ok(())
}
